import { defineConfig } from "vite";

export default defineConfig({
  root: "src",
  base: "/static/",
  publicDir: "public",
  build: {
    outDir: "../dist",
    emptyOutDir: true,
    manifest: "manifest.json",
    // The policy allows no data: in style or script, so nothing may be inlined.
    assetsInlineLimit: 0,
    target: "es2022",
    modulePreload: false,
    rollupOptions: { input: ["src/main.ts"] },
  },
});

// Prints the path of the Chromium that the browser tests drive. Unpacks it on first use; starts nothing.
//
// The package unpacks into the system's temporary folder under a name that anyone can guess; here it
// gets a folder of its own beside node_modules, which appears whole or not at all.
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const modules = join(dirname(fileURLToPath(import.meta.url)), "..", "node_modules");
const manifest = JSON.parse(readFileSync(join(modules, "@sparticuz", "chromium", "package.json"), "utf8"));
const home = join(modules, ".cache", `chromium-${manifest.version}`);

if (!existsSync(home)) {
  const partial = `${home}.${process.pid}`;
  mkdirSync(partial, { recursive: true });
  process.env.TMPDIR = partial;
  const { default: chromium } = await import("@sparticuz/chromium");
  await chromium.executablePath();
  try {
    renameSync(partial, home);
  } catch (fault) {
    // Another test process was faster: its copy is as good.
    rmSync(partial, { recursive: true, force: true });
    if (!existsSync(home)) throw fault;
  }
}
process.stdout.write(`${join(home, "chromium")}\n`);

// Passkeys: a form with `data-passkey` asks the browser for one before it is sent, and sends along what it answers.
// Parts of a page that need them (`data-passkey-part`) show where the browser has them.

type Kind = "create" | "get";
interface Described {
  id: string;
  type: PublicKeyCredentialType;
}

const fromText = (text: string): Uint8Array<ArrayBuffer> => {
  const plain = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
  return Uint8Array.from(plain, (character) => character.charCodeAt(0));
};

const toText = (bytes: ArrayBuffer): string => {
  const plain = Array.from(new Uint8Array(bytes), (byte) => String.fromCharCode(byte)).join("");
  return btoa(plain).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
};

const withBytes = (described: Described[] | null | undefined): PublicKeyCredentialDescriptor[] =>
  (described ?? []).map(({ id, type }) => ({ id: fromText(id), type }));

/** What the server asks for, as WebAuthn writes it in JSON: bytes are base64url. */
type Options = Record<string, unknown> & {
  challenge: string;
  user?: Record<string, unknown> & { id: string };
  excludeCredentials?: Described[];
  allowCredentials?: Described[];
};

async function ask(kind: Kind, options: Options): Promise<PublicKeyCredential | null> {
  const challenge = fromText(options.challenge);
  const asked =
    kind === "create"
      ? navigator.credentials.create({
          publicKey: {
            ...options,
            challenge,
            user: { ...options.user, id: fromText(options.user?.id ?? "") },
            excludeCredentials: withBytes(options.excludeCredentials),
          } as unknown as PublicKeyCredentialCreationOptions,
        })
      : navigator.credentials.get({
          publicKey: { ...options, challenge, allowCredentials: withBytes(options.allowCredentials) },
        });
  return (await asked) as PublicKeyCredential | null;
}

function written(credential: PublicKeyCredential): string {
  const { response } = credential;
  const parts: Record<string, string> = { clientDataJSON: toText(response.clientDataJSON) };
  if (response instanceof AuthenticatorAttestationResponse) {
    parts["attestationObject"] = toText(response.attestationObject);
  } else if (response instanceof AuthenticatorAssertionResponse) {
    parts["authenticatorData"] = toText(response.authenticatorData);
    parts["signature"] = toText(response.signature);
    if (response.userHandle?.byteLength) parts["userHandle"] = toText(response.userHandle);
  }
  const id = toText(credential.rawId);
  return JSON.stringify({ id, rawId: id, type: "public-key", response: parts });
}

function problemOf(fault: unknown): string {
  const name = fault instanceof DOMException ? fault.name : "";
  if (name === "NotAllowedError") return "No passkey was given, or it took too long. Try again.";
  if (name === "InvalidStateError") return "This device has a passkey of yours already.";
  if (name === "SecurityError") return "Passkeys work at Marina's own address only. Open it there.";
  return "The browser gave no passkey. Try again.";
}

async function complete(form: HTMLFormElement, field: HTMLInputElement): Promise<void> {
  const problem = form.querySelector<HTMLElement>("[data-passkey-problem]");
  const say = (words: string): void => {
    if (!problem) return;
    problem.textContent = words;
    problem.hidden = words === "";
  };
  say("");
  const token = form.querySelector<HTMLInputElement>("input[name=csrfmiddlewaretoken]")?.value ?? "";
  const begun = await fetch(form.dataset["passkeyBegin"] ?? "", {
    method: "POST",
    headers: { "X-CSRFToken": token },
  }).catch(() => null);
  if (!begun) {
    say("Marina was not reached. Try again.");
    return;
  }
  if (begun.redirected || !begun.headers.get("Content-Type")?.startsWith("application/json")) {
    // The session has ended, or a proof of who is there has grown old: the page says how to go on.
    location.reload();
    return;
  }
  const options = await begun.json();
  if (!begun.ok) {
    say(options.problem);
    return;
  }
  try {
    const credential = await ask(form.dataset["passkey"] as Kind, options);
    if (!credential) return;
    field.value = written(credential);
    form.requestSubmit();
  } catch (fault) {
    say(problemOf(fault));
  }
}

export function startPasskeys(): void {
  if ("PublicKeyCredential" in window && isSecureContext) {
    for (const part of document.querySelectorAll<HTMLElement>("[data-passkey-part]")) part.hidden = false;
  }
  // Before other listeners: a form that waits for its passkey is not being sent yet.
  document.addEventListener(
    "submit",
    (event) => {
      const form = event.target;
      if (!(form instanceof HTMLFormElement) || !form.dataset["passkey"]) return;
      const field = form.querySelector<HTMLInputElement>("input[name=credential]");
      if (!field || field.value) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      void complete(form, field);
    },
    { capture: true },
  );
  // Coming back by the browser's history must not send an old answer again.
  window.addEventListener("pageshow", () => {
    for (const field of document.querySelectorAll<HTMLInputElement>("form[data-passkey] input[name=credential]")) {
      field.value = "";
    }
  });
}

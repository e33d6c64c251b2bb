// Passkeys: asks the authenticator and puts its answer into the form, which goes on as any form does.
"use strict";
(() => {
  if (!window.PublicKeyCredential || !navigator.credentials) return;

  const toBytes = (text) => {
    const plain = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
    return Uint8Array.from(plain, (character) => character.charCodeAt(0));
  };
  const toText = (buffer) => {
    const plain = String.fromCharCode(...new Uint8Array(buffer));
    return btoa(plain).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  };

  // By hand, for browsers that are older than parseCreationOptionsFromJSON and toJSON.
  const asked = (text) => {
    const options = JSON.parse(text);
    options.challenge = toBytes(options.challenge);
    if (options.user) options.user.id = toBytes(options.user.id);
    for (const name of ["excludeCredentials", "allowCredentials"]) {
      for (const each of options[name] || []) each.id = toBytes(each.id);
    }
    return { publicKey: options };
  };
  const answered = (credential) => {
    const response = {};
    for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
      if (credential.response[name]) response[name] = toText(credential.response[name]);
    }
    const id = toText(credential.rawId);
    return JSON.stringify({ id, rawId: id, type: credential.type, response });
  };

  for (const form of document.querySelectorAll("form[data-passkey]")) {
    const failed = form.querySelector("[data-failed]");
    const button = form.querySelector("[data-with]");
    form.querySelector("[data-without]").hidden = true;
    button.hidden = false;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      failed.hidden = true;
      button.disabled = true;
      try {
        const options = asked(form.dataset.options);
        const credential = await navigator.credentials[form.dataset.passkey](options);
        form.elements.answer.value = answered(credential);
        form.submit();
      } catch {
        button.disabled = false;
        failed.hidden = false;
        failed.focus();
      }
    });
  }
})();

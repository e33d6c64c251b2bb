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

  const made = (name, attributes, ...inside) => {
    const element = document.createElement(name);
    for (const each of Object.keys(attributes)) element.setAttribute(each, attributes[each]);
    element.append(...inside);
    return element;
  };

  for (const form of document.querySelectorAll("form[data-passkey]")) {
    // Made here: a browser without scripts may also be one that shows what is hidden, as text browsers do.
    const failed = made("p", { class: "problem", role: "alert", tabindex: "-1", "data-failed": "" });
    failed.append(made("strong", {}, form.dataset.failedText), " ", form.dataset.failedHint);
    failed.hidden = true;
    const button = made("button", { type: "submit", class: "primary", "data-with": "" }, form.dataset.button);
    form.querySelector("[data-without]").replaceWith(failed, button);
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

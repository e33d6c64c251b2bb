// Replying: sends the form as the browser would, and shows how far the files have come.
"use strict";
(() => {
  const made = (name, attributes, ...inside) => {
    const element = document.createElement(name);
    for (const each of Object.keys(attributes)) element.setAttribute(each, attributes[each]);
    element.append(...inside);
    return element;
  };

  const prepare = () => {
    const form = document.querySelector("form[data-upload]");
    if (!form || !window.DOMParser) return;
    const files = form.querySelector("input[type=file]");
    // Made here: a browser without scripts may also be one that shows what is hidden, as text browsers do.
    const { failedText, progressText } = form.dataset;
    const bar = made("progress", { id: "progress", max: "1", value: "0" });
    const shown = made("p", { "data-progress": "" }, made("label", { for: "progress" }, progressText), " ", bar);
    const failed = made("p", { class: "problem", role: "alert", tabindex: "-1", "data-failed": "" }, failedText);
    shown.hidden = failed.hidden = true;
    form.querySelector(".buttons").before(failed, shown);
    // Not form.action: that is the buttons of this name.
    const target = new URL(form.getAttribute("action"), location.href).href;

    const show = (answer) => {
      const page = new DOMParser().parseFromString(answer, "text/html");
      const main = page.querySelector("main");
      if (!main) return false;
      document.querySelector("main").replaceWith(main);
      document.title = page.title;
      prepare();
      main.tabIndex = -1;
      (main.querySelector("[autofocus]") || main).focus();
      return true;
    };

    form.addEventListener("submit", (event) => {
      if (!event.submitter || !files.files.length) return;
      event.preventDefault();
      // What the button says comes before the files, so that it is known of an upload that breaks off.
      const data = new FormData();
      data.append(event.submitter.name, event.submitter.value);
      for (const [name, value] of new FormData(form)) data.append(name, value);
      const buttons = [...form.querySelectorAll("button")];
      const waiting = (yes) => {
        shown.hidden = !yes;
        for (const each of buttons) each.disabled = yes;
      };
      const request = new XMLHttpRequest();
      const gone = () => {
        waiting(false);
        failed.hidden = false;
        failed.focus();
      };
      request.upload.addEventListener("progress", (step) => {
        if (step.lengthComputable) bar.value = step.loaded / step.total;
      });
      request.addEventListener("load", () => {
        if (request.status === 200 && request.responseURL !== target) location.assign(request.responseURL);
        else if (!show(request.responseText)) gone();
      });
      for (const each of ["error", "abort", "timeout"]) request.addEventListener(each, gone);
      failed.hidden = true;
      bar.value = 0;
      waiting(true);
      request.open("POST", target);
      request.send(data);
    });
  };
  prepare();
})();

// What a script can add to the page: every form works without it.
"use strict";

for (const button of document.querySelectorAll("[data-copy]")) {
  const text = document.getElementById(button.dataset.copy);
  if (!text || !navigator.clipboard) continue;
  button.hidden = false;
  const words = button.textContent;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text.textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not copied: select the text";
    }
    setTimeout(() => { button.textContent = words; }, 2000);
  });
}

const typed = document.querySelector("textarea[data-most]");
if (typed) {
  const size = document.getElementById("text-size");
  const most = Number(typed.dataset.most);
  const kB = (bytes) => `${Math.ceil(bytes / 1024)} kB`;
  const tell = () => {
    const bytes = new TextEncoder().encode(typed.value).length;
    size.textContent = `${kB(bytes)} of at most ${kB(most)}${bytes > most ? ": too much" : ""}.`;
  };
  typed.addEventListener("input", tell);
  if (typed.value) tell();
}

// Feedback of a card is told on the card.
for (const form of document.querySelectorAll("form.done")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const said = form.closest(".card").querySelector(".said");
    said.hidden = false;
    said.textContent = "Sending…";
    try {
      const answer = await fetch(form.action, { method: "POST", body: new FormData(form), headers: { Accept: "application/json" } });
      const told = await answer.json();
      said.textContent = answer.ok
        ? `Feedback taken (${told.status}). A trial: neither stored nor counted.`
        : `Refused (${told.status}): ${told.issues.map((issue) => issue.join(": ").replace(/^: /, "")).join("; ")}`;
    } catch {
      said.textContent = "Not sent: the service does not answer.";
    }
  });
}

// One more row for a medicine when the last one is used.
for (const rows of document.querySelectorAll("[data-more]")) {
  rows.addEventListener("input", () => {
    const all = rows.querySelectorAll(".row");
    const last = all[all.length - 1];
    if (all.length >= 40 || !last.querySelector("input").value) return;
    const more = last.cloneNode(true);
    more.querySelectorAll(".fault").forEach((one) => one.remove());
    more.querySelectorAll("input").forEach((input) => {
      input.value = "";
      input.removeAttribute("aria-invalid");
      input.removeAttribute("aria-describedby");
      input.id = input.id.replace(/\d+$/, all.length + 1);
    });
    more.querySelectorAll("label").forEach((label) => {
      label.htmlFor = label.htmlFor.replace(/\d+$/, all.length + 1);
      label.textContent = label.textContent.replace(/\d+$/, all.length + 1);
    });
    last.after(more);
  });
}

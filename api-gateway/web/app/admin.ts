// The overview of the operators' page shows new figures every few seconds. Without this script it shows
// those of the moment in which it was asked for.

const EVERY_MS = 3000;

function again(): void {
  setTimeout(refresh, EVERY_MS);
}

function refresh(): void {
  if (document.hidden) {
    again();
    return;
  }
  // A document of its own, parsed by the browser: nothing here makes markup of texts.
  const asked = new XMLHttpRequest();
  asked.open("GET", location.pathname);
  asked.responseType = "document";
  asked.addEventListener("load", () => show(asked.response as Document | null));
  asked.addEventListener("loadend", again);
  asked.send();
}

function show(page: Document | null): void {
  const fresh = page?.getElementById("live");
  if (fresh) {
    document.getElementById("live")?.replaceWith(fresh);
  } else if (page?.querySelector("form.login")) {
    location.reload();
  }
}

again();

export {};

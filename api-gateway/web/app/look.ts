export type Look = "auto" | "light" | "dark";

const KEY = "im-look";

export function getLook(): Look {
  const stored = localStorage.getItem(KEY);
  return stored === "light" || stored === "dark" ? stored : "auto";
}

export function setLook(look: Look): void {
  localStorage.setItem(KEY, look);
  applyLook();
}

export function applyLook(): void {
  document.documentElement.dataset.look = getLook();
}

// Where the keyboard is.

/** What the arrow keys stop at has this attribute. */
const STOP = "[data-stop]";

/** There is a keyboard, most likely, and none on the screen that would cover what was just opened. */
export function isWide(): boolean {
  return matchMedia("(min-width: 760px)").matches;
}

/** Up and down go from stop to stop among those below `root`. */
export function moveByArrows(event: KeyboardEvent, root: HTMLElement): void {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step || event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const stops = [...root.querySelectorAll<HTMLElement>(STOP)];
  const next = stops[stops.findIndex((stop) => stop.contains(document.activeElement)) + step];
  if (!next) return;
  event.preventDefault();
  next.focus();
}

/** The stop that an element is in. */
export function stopOf(element: HTMLElement | null): HTMLElement | null {
  return element?.closest<HTMLElement>(STOP) ?? null;
}

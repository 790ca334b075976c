import type { JSX } from "preact";

// Lines on a grid of 24.
const PATHS = {
  chats: "M4 5h16v11H10l-4 4v-4H4z",
  contacts: "M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7zM2.5 20c.4-4 3-6 6.5-6s6.100 2 6.500 6M16 4.500a3.500 3.500 0 0 1 0 6.500M17.500 14.500c2.300.7 3.700 2.500 4 5.500",
  settings: "M4 7h9M17 7h3M4 17h3M11 17h9M15 4.500v5M9 14.500v5",
  logout: "M14 4H5v16h9M10 12h10M17 8.500l3.500 3.500-3.500 3.500",
  search: "M10.500 17a6.500 6.500 0 1 0 0-13 6.500 6.500 0 0 0 0 13zM15.500 15.500L20 20",
  send: "M4 12l16-8-5 16-4-6.500zM11 13.500l9-9.500",
  attach: "M8 12.500l5.500-5.500a2.800 2.800 0 0 1 4 4L10 18.500a4.600 4.600 0 0 1-6.500-6.500L11 4.500",
  back: "M15 5l-7 7 7 7",
  close: "M6 6l12 12M18 6L6 18",
  more: "M5.500 11.500v1M12 11.500v1M18.500 11.500v1",
  add: "M12 5v14M5 12h14",
  info: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM12 11v5.500M12 7.500h.01",
  down: "M6 9l6 6 6-6",
  file: "M6 3h8l5 5v13H6zM14 3v5h5",
  reply: "M10 6L4 12l6 6M4 12h10c4 0 6 2 6 6",
  clock: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM12 7v5l3 2",
  check: "M5 12.500l4.500 4.500L19 7.500",
  checks: "M2.500 12.500l4.500 4.500L16 8M11 16l1 1 9.500-9.500",
  failed: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM12 7v6M12 16.500h.01",
  group: "M12 11a3.500 3.500 0 1 0 0-7 3.500 3.500 0 0 0 0 7zM5 20c.4-4 3.500-6 7-6s6.600 2 7 6",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon(props: { name: IconName }): JSX.Element {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={PATHS[props.name]} />
    </svg>
  );
}

import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { IconButton } from "../parts/basics";
import { stopOf } from "../parts/focus";

export interface Choice {
  label: string;
  run: () => void;
  isDanger?: boolean;
}

/** A button with a menu; arrows move in it, Escape closes it. What is chosen may take the button away: the focus goes
 * to what it is a part of. */
export function Menu(props: {
  label: string;
  choices: Choice[];
  isOpen: boolean;
  onOpen: (isOpen: boolean) => void;
  tabIndex?: number;
}): JSX.Element {
  const root = useRef<HTMLDivElement>(null);
  const { isOpen, onOpen } = props;
  useEffect(() => {
    if (!isOpen) return;
    root.current?.querySelector<HTMLElement>("[role=menuitem]")?.focus();
    const outside = (event: Event): void => {
      if (!root.current?.contains(event.target as Node)) onOpen(false);
    };
    document.addEventListener("pointerdown", outside);
    return () => document.removeEventListener("pointerdown", outside);
  }, [isOpen]);

  const onKey = (event: KeyboardEvent): void => {
    if (!isOpen) return;
    const items = [...root.current!.querySelectorAll<HTMLElement>("[role=menuitem]")];
    const at = items.indexOf(document.activeElement as HTMLElement);
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      items[(at + step + items.length) % items.length]?.focus();
    } else if (event.key === "Escape" || event.key === "Tab") {
      event.stopPropagation();
      // A dialog that it is in stays.
      if (event.key === "Escape") event.preventDefault();
      onOpen(false);
      root.current?.querySelector("button")?.focus();
    }
  };
  return (
    <div class={`menu ${isOpen ? "is-open" : ""}`} ref={root} onKeyDown={onKey}>
      <IconButton icon="more" label={props.label} expanded={isOpen} tabIndex={props.tabIndex} onClick={() => onOpen(!isOpen)} />
      {isOpen && (
        <div role="menu" aria-label={props.label}>
          {props.choices.map((choice) => (
            <button
              key={choice.label}
              type="button"
              role="menuitem"
              tabIndex={-1}
              class={choice.isDanger ? "danger" : ""}
              onClick={() => {
                onOpen(false);
                (stopOf(root.current) ?? root.current?.querySelector("button"))?.focus();
                choice.run();
              }}
            >
              {choice.label}
            </button>
          ))}
        </div>
      )}
    </div>
  );
}

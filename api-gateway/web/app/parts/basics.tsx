import type { ComponentChildren, JSX } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { thumbnailOf } from "../avatars";
import { useBlob } from "../blobs";
import { t } from "../i18n";
import { useListeners, useModel } from "../model";
import { Icon, type IconName } from "./icons";

const HUES = 8;

/** Their picture, or the first letter on a colour that stays the same for the same one. */
export function Avatar(props: { id: number; name: string; online?: boolean; isGroup?: boolean; large?: boolean }): JSX.Element {
  const { directory } = useModel();
  const known = props.isGroup ? directory.groups.get(props.id) : directory.people.get(props.id);
  const picture = thumbnailOf(known?.avatar);
  const letter = [...props.name.replace(/^[^\p{L}\p{N}]+/u, "")][0]?.toUpperCase() ?? "?";
  const classes = ["avatar", `hue-${(props.id + (props.isGroup ? 4 : 0)) % HUES}`, props.large && "large", props.isGroup && "group"];
  return (
    <span class={classes.filter(Boolean).join(" ")} aria-hidden="true">
      {letter}
      {picture && <AvatarPicture path={picture} />}
      {props.online && <span class="dot" />}
    </span>
  );
}

function AvatarPicture(props: { path: string }): JSX.Element | null {
  const { url } = useBlob(props.path);
  return url ? <img src={url} alt="" /> : null;
}

export function IconButton(props: {
  icon: IconName;
  label: string;
  onClick?: (event: MouseEvent) => void;
  class?: string;
  disabled?: boolean;
  current?: boolean;
  expanded?: boolean;
  tabIndex?: number;
}): JSX.Element {
  return (
    <button
      type="button"
      class={`icon-button ${props.class ?? ""}`}
      aria-label={props.label}
      title={props.label}
      aria-current={props.current ? "page" : undefined}
      aria-expanded={props.expanded}
      aria-haspopup={props.expanded === undefined ? undefined : "menu"}
      tabIndex={props.tabIndex}
      disabled={props.disabled}
      onClick={props.onClick}
    >
      <Icon name={props.icon} />
    </button>
  );
}

export function Field(props: {
  label: string;
  value: string;
  onInput: (value: string) => void;
  type?: "text" | "password";
  hint?: string;
  problem?: string;
  autocomplete?: string;
  maxLength?: number;
  autoFocus?: boolean;
}): JSX.Element {
  const id = useId();
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => {
    // Where something is to be put right, too.
    if (props.autoFocus || props.problem) input.current?.focus();
  }, [props.problem]);
  const about = props.problem || props.hint ? `${id}-about` : undefined;
  return (
    <div class="field">
      <label for={id}>{props.label}</label>
      <input
        ref={input}
        id={id}
        type={(props.type ?? "text") as "text"}
        value={props.value}
        autocomplete={props.autocomplete ?? "off"}
        maxLength={props.maxLength}
        autoFocus={props.autoFocus}
        autocapitalize="none"
        spellcheck={false}
        aria-describedby={about}
        aria-invalid={props.problem ? true : undefined}
        onInput={(event) => props.onInput(event.currentTarget.value)}
      />
      {about && (
        <p id={about} class={props.problem ? "problem" : "hint"} role={props.problem ? "alert" : undefined}>
          {props.problem || props.hint}
        </p>
      )}
    </div>
  );
}

/** A name by itself, and a button that saves it. */
export function NameForm(props: { label: string; value: string; onSave: (name: string) => Promise<unknown> }): JSX.Element {
  const [name, setName] = useState(props.value);
  return (
    <form
      class="inline-form"
      onSubmit={(event) => {
        event.preventDefault();
        void props.onSave(name);
      }}
    >
      <Field label={props.label} value={name} onInput={setName} maxLength={64} />
      <button type="submit" class="secondary">
        {t("save")}
      </button>
    </form>
  );
}

/** What the page says for a moment. Behind a dialog nobody is told of it: the dialog has one itself. */
export function Notice(props: { isBehind?: boolean }): JSX.Element {
  const model = useModel();
  useListeners(model.changed);
  const text = props.isBehind ? "" : model.notice;
  return (
    <div class="notice">
      <p role="status">{!model.isProblem && text}</p>
      <p role="alert">{model.isProblem && text}</p>
    </div>
  );
}

/** A dialog over the page; Escape and a click beside it close it, and the focus returns to where it was. */
export function Modal(props: { title: string; onClose: () => void; children: ComponentChildren; wide?: boolean }): JSX.Element {
  const element = useRef<HTMLDialogElement>(null);
  const isHere = useRef(true);
  const title = useId();
  useEffect(() => {
    const dialog = element.current;
    const before = document.activeElement as HTMLElement | null;
    dialog?.showModal();
    return () => {
      isHere.current = false;
      dialog?.close();
      before?.focus();
    };
  }, []);
  return (
    <dialog
      ref={element}
      class={props.wide ? "wide" : ""}
      aria-labelledby={title}
      onCancel={(event) => {
        event.preventDefault();
        props.onClose();
      }}
      // A second Escape in a row closes it without asking.
      onClose={() => isHere.current && props.onClose()}
      onClick={(event) => event.target === element.current && props.onClose()}
    >
      <div class="dialog-body">
        <header>
          <h2 id={title}>{props.title}</h2>
          <IconButton icon="close" label={t("close")} onClick={props.onClose} />
        </header>
        {props.children}
      </div>
      <Notice />
    </dialog>
  );
}

export function Empty(props: { icon: IconName; title: string; hint?: string; isPage?: boolean }): JSX.Element {
  const Title = props.isPage ? "h1" : "p";
  return (
    <div class="empty">
      <span class="empty-icon">
        <Icon name={props.icon} />
      </span>
      <Title class="empty-title">{props.title}</Title>
      {props.hint && <p class="hint">{props.hint}</p>}
    </div>
  );
}

/** A person in a list; what can be done with them stands behind the name. */
export function PersonRow(props: {
  id: number;
  name: string;
  detail?: string;
  online?: boolean;
  isGroup?: boolean;
  onClick?: () => void;
  children?: ComponentChildren;
}): JSX.Element {
  const inside = (
    <>
      <Avatar id={props.id} name={props.name} online={props.online} isGroup={props.isGroup} />
      <span class="row-text">
        <span class="row-name">{props.name}</span>
        {props.detail && <span class="row-detail">{props.detail}</span>}
      </span>
    </>
  );
  return (
    <li class="person-row">
      {props.onClick ? (
        <button type="button" class="row-main" data-stop onClick={props.onClick}>
          {inside}
        </button>
      ) : (
        <span class="row-main">{inside}</span>
      )}
      {props.children && <span class="row-actions">{props.children}</span>}
    </li>
  );
}

import type { JSX } from "preact";
import { t } from "../i18n";
import { Modal } from "../parts/basics";

export interface Question {
  text: string;
  label: string;
  run: () => Promise<unknown>;
}

/** Asks before what cannot be undone. */
export function Confirm(props: Question & { onClose: () => void }): JSX.Element {
  return (
    <Modal title={props.label} onClose={props.onClose}>
      <p>{props.text}</p>
      <div class="buttons">
        <button type="button" class="secondary" onClick={props.onClose}>
          {t("cancel")}
        </button>
        <button
          type="button"
          class="primary danger"
          onClick={() => {
            props.onClose();
            void props.run();
          }}
        >
          {props.label}
        </button>
      </div>
    </Modal>
  );
}

import type { JSX } from "preact";
import { useBlob, useSaving } from "../blobs";
import { t } from "../i18n";
import { Modal } from "../parts/basics";

export function PictureDialog(props: { url: string; name: string; onClose: () => void }): JSX.Element {
  const blob = useBlob(props.url);
  const saving = useSaving(props.url, props.name);
  return (
    <Modal title={props.name} onClose={props.onClose} wide>
      <div class="picture-whole">
        {blob.url ? <img src={blob.url} alt={props.name} /> : <p class="hint">{blob.isMissing ? t("picture_missing") : ""}</p>}
      </div>
      <div class="buttons">
        <button type="button" class="secondary" aria-disabled={saving.isBusy} onClick={saving.save}>
          {t("download")}
        </button>
      </div>
    </Modal>
  );
}

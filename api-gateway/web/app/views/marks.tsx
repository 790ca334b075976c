import type { JSX } from "preact";
import { t } from "../i18n";
import { Icon, type IconName } from "../parts/icons";

export type SendState = "sending" | "sent" | "delivered" | "read" | "failed";

const ICONS: Record<SendState, IconName> = {
  sending: "clock",
  sent: "check",
  delivered: "checks",
  read: "checks",
  failed: "failed",
};

/** How far an own message is. */
export function StateMark(props: { state: SendState }): JSX.Element {
  const label = t(`state_${props.state}`);
  return (
    <span class={`mark mark-${props.state}`} role="img" aria-label={label} title={label}>
      <Icon name={ICONS[props.state]} />
    </span>
  );
}

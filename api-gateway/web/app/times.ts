import { locale, t } from "./i18n";

const DAY_MS = 86_400_000;

export function clock(ms: number): string {
  return new Intl.DateTimeFormat(locale(), { hour: "numeric", minute: "2-digit" }).format(ms);
}

export function dayOf(ms: number): number {
  const date = new Date(ms);
  return new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
}

/** A day as people say it. */
export function day(ms: number): string {
  const days = Math.round((dayOf(Date.now()) - dayOf(ms)) / DAY_MS);
  if (days === 0) return t("today");
  if (days === 1) return t("yesterday");
  const isNear = days > 0 && days < 300;
  const options: Intl.DateTimeFormatOptions = isNear
    ? { weekday: "short", month: "long", day: "numeric" }
    : { year: "numeric", month: "long", day: "numeric" };
  return new Intl.DateTimeFormat(locale(), options).format(ms);
}

/** As short as can be: the time of today, the day of this week, or the date. */
export function brief(ms: number): string {
  const days = Math.round((dayOf(Date.now()) - dayOf(ms)) / DAY_MS);
  if (days <= 0) return clock(ms);
  if (days === 1) return t("yesterday");
  const options: Intl.DateTimeFormatOptions =
    days < 7 ? { weekday: "short" } : { month: "numeric", day: "numeric", year: days > 300 ? "2-digit" : undefined };
  return new Intl.DateTimeFormat(locale(), options).format(ms);
}

export function full(ms: number): string {
  return new Intl.DateTimeFormat(locale(), { dateStyle: "medium", timeStyle: "short" }).format(ms);
}

export function size(bytes: number): string {
  const units = ["B", "KB", "MB", "GB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${new Intl.NumberFormat(locale(), { maximumFractionDigits: value < 10 && unit ? 1 : 0 }).format(value)} ${units[unit]}`;
}

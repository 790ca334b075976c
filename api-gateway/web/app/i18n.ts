// What the page says, in English and Chinese. A text may have {names}, filled in by `t`.

import { en } from "./texts/en";
import { zh } from "./texts/zh";

export type Text = keyof typeof en;
export type Language = "en" | "zh";

const TEXTS: Record<Language, Record<Text, string>> = { en, zh };
const KEY = "im-language";

let language: Language = chosen();

function chosen(): Language {
  const stored = localStorage.getItem(KEY);
  if (stored === "en" || stored === "zh") return stored;
  return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}

export function getLanguage(): Language {
  return language;
}

export function setLanguage(next: Language): void {
  language = next;
  localStorage.setItem(KEY, next);
  document.documentElement.lang = locale();
}

export function locale(): string {
  return language === "zh" ? "zh-CN" : "en";
}

export function t(name: Text, values: Record<string, string | number> = {}): string {
  return TEXTS[language][name].replace(/\{(\w+)\}/g, (whole, key: string) => String(values[key] ?? whole));
}

/** What went wrong, in words for people; `fallback` when the server's own are no better. */
export function explain(error: unknown): string {
  const { code = "", message = "" } = error as { code?: string; message?: string };
  const name = `error_${code}` as Text;
  if (name in en) return t(name);
  if (language === "en" && code && message) return sentence(message);
  return t("error_INTERNAL");
}

function sentence(text: string): string {
  const plain = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(plain) ? plain : `${plain}.`;
}

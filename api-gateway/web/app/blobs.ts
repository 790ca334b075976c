// Files behind the API: fetched with the token, shown by an address that only this page knows.

import { useEffect, useState } from "preact/hooks";
import type { ImClient } from "im-client";
import { useModel } from "./model";

const KEPT = 100;
// What may be shown as a picture, whatever the sender said that it is.
const PICTURES = new Set(["image/png", "image/jpeg", "image/gif", "image/webp", "image/avif"]);
const urls = new Map<string, Promise<string>>();

export interface BlobState {
  url?: string;
  isMissing?: boolean;
}

/** A picture's address, once it is here. */
export function useBlob(path: string): BlobState {
  const { client } = useModel();
  const [state, setState] = useState<BlobState>({});
  useEffect(() => {
    let isOld = false;
    setState({});
    picture(client, path).then(
      (url) => isOld || setState({ url }),
      () => isOld || setState({ isMissing: true }),
    );
    return () => {
      isOld = true;
    };
  }, [path]);
  return state;
}

function picture(client: ImClient, path: string): Promise<string> {
  const known = urls.get(path);
  if (known) return known;
  const asked = Promise.resolve().then(() => client.http.blob(path)).then((blob) => {
    if (!PICTURES.has(blob.type.split(";")[0]!.trim())) throw new Error("not a picture");
    return URL.createObjectURL(blob);
  });
  urls.set(path, asked);
  asked.catch(() => urls.delete(path));
  forgetOldest();
  return asked;
}

function forgetOldest(): void {
  if (urls.size <= KEPT) return;
  const [path, url] = urls.entries().next().value!;
  urls.delete(path);
  url.then((one) => URL.revokeObjectURL(one)).catch(() => {});
}

/** Saves a file to the disk. */
export function useSaving(path: string, name: string): { save: () => void; isBusy: boolean } {
  const model = useModel();
  const [isBusy, setBusy] = useState(false);
  const save = async (): Promise<void> => {
    if (isBusy) return;
    setBusy(true);
    await model.try(async () => {
      const blob = await model.client.http.blob(path);
      const link = document.createElement("a");
      // Never opened here, whatever it is.
      link.href = URL.createObjectURL(new Blob([blob], { type: "application/octet-stream" }));
      link.download = name;
      link.click();
      window.setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    });
    setBusy(false);
  };
  return { save: () => void save(), isBusy };
}

// Pictures of people and groups: files behind the API that all who are logged in may see.

import type { ImClient } from "im-client";

const SIDE = 512;
const FILE = /^\/v1\/files\/f_[0-9a-f]{32}$/;

/** Where the small picture of an `avatar` is; one that is no file of this server is not asked for. */
export function thumbnailOf(avatar: string | undefined): string | null {
  return avatar && FILE.test(avatar) ? `${avatar}/thumbnail` : null;
}

/** Uploads the picture; gives the `avatar` of a profile. Raises ApiError, or NotAPicture. */
export async function uploadAvatar(client: ImClient, file: File): Promise<string> {
  const form = new FormData();
  form.append("file", await squared(file), "avatar");
  const { url } = await client.http.post<{ url: string }>("/v1/files", form);
  return url;
}

export class NotAPicture extends Error {
  readonly code = "NOT_A_PICTURE";
}

/** The middle of it, small, and without what a camera writes into it: everybody may see it. */
async function squared(file: File): Promise<Blob> {
  const picture = await createImageBitmap(file).catch(() => {
    throw new NotAPicture();
  });
  const { width, height } = picture;
  const part = Math.min(width, height);
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = Math.min(part, SIDE);
  const [left, top] = [(width - part) / 2, (height - part) / 2];
  canvas.getContext("2d")!.drawImage(picture, left, top, part, part, 0, 0, canvas.width, canvas.height);
  picture.close();
  // A browser that cannot write WebP writes PNG.
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new NotAPicture())), "image/webp", 0.9);
  });
}

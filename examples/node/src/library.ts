/** What we share: files found, hashed, and looked at again. Owns no network. */
import { constants } from "node:fs";
import type { BigIntStats } from "node:fs";
import { lstat, open, readdir, realpath } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { basename, extname, join } from "node:path";
import { status } from "@grpc/grpc-js";
import { hashFile, manifestDigest } from "./content.js";
import type { Manifest } from "./content.js";
import { isSharedPath } from "./names.js";
import { Failure, refuse } from "./refusal.js";
import type { Refusal } from "./refusal.js";

export const PART_PREFIX = ".p2p-node-";

const MEDIA_TYPES: Record<string, string> = {
  ".csv": "text/csv", ".gif": "image/gif", ".htm": "text/html", ".html": "text/html", ".jpeg": "image/jpeg", ".jpg": "image/jpeg",
  ".json": "application/json", ".md": "text/markdown", ".mp3": "audio/mpeg", ".mp4": "video/mp4", ".pdf": "application/pdf",
  ".png": "image/png", ".svg": "image/svg+xml", ".tar": "application/x-tar", ".txt": "text/plain", ".zip": "application/zip",
};

export interface SharedFile {
  /** As listed */
  readonly path: string;
  /** As the disk has it: need not be NFC */
  readonly diskPath: string;
  readonly digest: string;
  readonly manifest: Manifest;
  readonly manifestDigest: string;
  readonly modifiedNs: bigint;
  readonly mediaType: string;
  /** Identity of what was hashed; see `stampOf` */
  readonly stamp: string;
}

/** Changes whenever the file's content may have changed. */
function stampOf(stats: BigIntStats): string {
  return [stats.dev, stats.ino, stats.size, stats.mtimeNs, stats.ctimeNs].join(":");
}

export class Library {
  private files: ReadonlyMap<string, SharedFile> = new Map();
  private byDigest = new Map<string, SharedFile[]>();
  /** Files that cannot be listed: names that break the rules, unreadable ones, two names for one path */
  skipped = 0;

  private constructor(private readonly roots: ReadonlyMap<string, string>) {}

  /** @throws Failure 2 no such path, or two of one name */
  static async of(paths: string[]): Promise<Library> {
    const roots = new Map<string, string>();
    for (const path of paths) {
      const root = await realpath(path).catch(() => {
        throw new Failure(2, "USAGE", `cannot share ${path}: there is no such file or folder`);
      });
      const name = basename(root).normalize("NFC");
      if (roots.has(name)) throw new Failure(2, "USAGE", `two of the paths are named ${name}`);
      roots.set(name, root);
    }
    return new Library(roots);
  }

  listed(): ReadonlyMap<string, SharedFile> {
    return this.files;
  }

  /** Looks at the disk again and hashes what is new. True if anything differs. */
  async rescan(): Promise<boolean> {
    const found = new Map<string, SharedFile>();
    this.skipped = 0;
    for (const [name, root] of this.roots) await this.visit(root, name, found);
    const isSame = found.size === this.files.size && [...found].every(([path, file]) => this.files.get(path) === file);
    if (isSame) return false;
    this.files = found;
    this.byDigest = new Map();
    for (const file of found.values()) this.byDigest.set(file.digest, [...(this.byDigest.get(file.digest) ?? []), file]);
    return true;
  }

  /**
   * An open, unchanged file of this content; the caller closes it.
   * @throws Refusal CONTENT_UNKNOWN, CONTENT_CHANGED, CONTENT_UNREADABLE
   */
  async open(digest: string): Promise<{ file: SharedFile; handle: FileHandle }> {
    const candidates = this.byDigest.get(digest) ?? [];
    if (candidates.length === 0) throw refuse(status.NOT_FOUND, "CONTENT_UNKNOWN", "this peer does not share that content");
    let why = refuse(status.UNAVAILABLE, "CONTENT_UNREADABLE", "the file cannot be read now");
    for (const file of candidates) {
      const handle = await openPlainFile(file.diskPath).catch(() => undefined);
      if (handle === undefined) continue;
      if (await isUnchanged(file, handle)) return { file, handle };
      why = contentChanged();
      await handle.close();
    }
    throw why;
  }

  private async visit(diskPath: string, path: string, found: Map<string, SharedFile>): Promise<void> {
    const stats = await lstat(diskPath, { bigint: true }).catch(() => undefined);
    if (stats === undefined || basename(diskPath).startsWith(PART_PREFIX)) return;
    if (stats.isDirectory()) return this.visitFolder(diskPath, path, found);
    if (!stats.isFile()) return;
    const before = this.files.get(path);
    const isKnown = before !== undefined && before.diskPath === diskPath && before.stamp === stampOf(stats);
    const file = isKnown ? before : isSharedPath(path) && !found.has(path) ? await hashed(diskPath, path) : undefined;
    if (file === undefined) this.skipped += 1;
    else found.set(path, file);
  }

  private async visitFolder(diskPath: string, path: string, found: Map<string, SharedFile>): Promise<void> {
    const entries = await readdir(diskPath, { encoding: "buffer" }).catch(() => []);
    for (const name of entries.map((entry) => entry.toString("utf8")).sort()) {
      // A name that is not UTF-8 comes back with U+FFFD, which then names no file.
      await this.visit(join(diskPath, name), `${path}/${name.normalize("NFC")}`, found);
    }
  }
}

export function contentChanged(): Refusal {
  return refuse(status.ABORTED, "CONTENT_CHANGED", "the file changed since it was hashed");
}

export async function isUnchanged(file: SharedFile, handle: FileHandle): Promise<boolean> {
  return stampOf(await handle.stat({ bigint: true })) === file.stamp;
}

/** Never a symlink, and never waiting for the writer of a named pipe. */
function openPlainFile(diskPath: string): Promise<FileHandle> {
  return open(diskPath, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
}

/** Undefined if the file cannot be read, or changes while it is: the next look finds it again. */
async function hashed(diskPath: string, path: string): Promise<SharedFile | undefined> {
  const handle = await openPlainFile(diskPath).catch(() => undefined);
  if (handle === undefined) return undefined;
  try {
    const stats = await handle.stat({ bigint: true });
    if (!stats.isFile()) return undefined;
    const { digest, manifest } = await hashFile(handle, Number(stats.size));
    const file: SharedFile = {
      path, diskPath, digest, manifest,
      manifestDigest: manifestDigest(manifest),
      modifiedNs: stats.mtimeNs,
      mediaType: MEDIA_TYPES[extname(path).toLowerCase()] ?? "",
      stamp: stampOf(stats),
    };
    return (await isUnchanged(file, handle)) ? file : undefined;
  } catch {
    return undefined;
  } finally {
    await handle.close();
  }
}

/** The file being made: beside its target, private, and given its name only when it is whole. */
import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { link, lstat, open, rename, rm } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { PART_PREFIX } from "./library.js";
import { Failure } from "./refusal.js";

export class TargetFile {
  private constructor(
    readonly path: string,
    readonly handle: FileHandle,
    private readonly partPath: string,
    private readonly mayReplace: boolean,
  ) {}

  /** @throws Failure 7 it exists, or cannot be written */
  static async create(target: string, mayReplace: boolean): Promise<TargetFile> {
    const path = resolve(target);
    const existing = await lstat(path).catch(() => undefined);
    if (existing !== undefined && !mayReplace) throw targetExists(path);
    if (existing?.isDirectory()) throw new Failure(7, "TARGET_EXISTS", `${path} is a folder`);
    const partPath = join(dirname(path), `${PART_PREFIX}${randomBytes(8).toString("hex")}.part`);
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    const handle = await open(partPath, flags, 0o600).catch((error: unknown) => {
      throw new Failure(7, "TARGET_UNWRITABLE", `cannot write to ${dirname(path)}: ${String(error)}`);
    });
    return new TargetFile(path, handle, partPath, mayReplace);
  }

  /** Gives the finished file its name, durably. Never replaces a file that came into being meanwhile, unless told to. */
  async publish(): Promise<void> {
    await this.handle.chmod(0o666 & ~process.umask());
    await this.handle.sync();
    await this.handle.close();
    if (this.mayReplace) {
      await rename(this.partPath, this.path);
    } else {
      await link(this.partPath, this.path).catch((error: NodeJS.ErrnoException) => {
        if (error.code === "EEXIST") throw targetExists(this.path);
        return this.nameWithoutLinks(error);
      });
      await rm(this.partPath, { force: true });
    }
    const folder = await open(dirname(this.path));
    await folder.sync().finally(() => folder.close());
  }

  async discard(): Promise<void> {
    await this.handle.close().catch(() => undefined);
    await rm(this.partPath, { force: true });
  }

  /** For file systems without hard links: takes the name first, exclusively, then moves over what is ours. */
  private async nameWithoutLinks(error: NodeJS.ErrnoException): Promise<void> {
    if (!["EPERM", "ENOTSUP", "EOPNOTSUPP", "EMLINK"].includes(error.code ?? "")) throw error;
    const taken = await open(this.path, "wx").catch(() => {
      throw targetExists(this.path);
    });
    await taken.close();
    await rename(this.partPath, this.path);
  }
}


function targetExists(path: string): Failure {
  return new Failure(7, "TARGET_EXISTS", `${basename(path)} exists: choose another name, or replace it with --overwrite`);
}

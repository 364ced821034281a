/** From what people type to one content: search, and the meaning of TARGET. */
import { timestampDate } from "@bufbuild/protobuf/wkt";
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Directory } from "./directory.js";
import { DirectoryService } from "./gen/p2p/v1/directory_pb.js";
import type { ListedPeer, QueryRequestSchema } from "./gen/p2p/v1/directory_pb.js";
import { isDigest, isEndpoint, isPeerId, isSharedPath, isUserName, showEndpoint, sizeFromWire } from "./names.js";
import { Failure } from "./refusal.js";

export interface Found {
  readonly name: string;
  readonly path: string;
  readonly size_bytes: number;
  readonly digest: string;
  readonly owner: string;
  readonly endpoint: string | null;
  readonly mtime: string | null;
}

type Criteria = Omit<MessageInitShape<typeof QueryRequestSchema>, "pageToken" | "$typeName">;

/** Everything found, page by page. Entries that break the rules for names are left out: they never reach a terminal. */
export async function* query(directory: Directory, criteria: Criteria): AsyncGenerator<Found> {
  let pageToken = "";
  do {
    const page = await directory.call(DirectoryService.method.query, { ...criteria, pageToken });
    const peers = new Map(page.peers.map((peer) => [peer.peerId, peer]));
    for (const { resource, peerId } of page.listedResources) {
      const peer = peers.get(peerId);
      if (resource === undefined || peer === undefined) continue;
      if (!isSharedPath(resource.path) || !isDigest(resource.digest) || !isUserName(peer.user)) continue;
      yield {
        name: resource.path.slice(resource.path.lastIndexOf("/") + 1),
        path: resource.path,
        size_bytes: sizeFromWire(resource.sizeBytes),
        digest: `b3:${resource.digest}`,
        owner: peer.user,
        endpoint: firstEndpoint(peer),
        mtime: rfc3339(resource.modifyTime),
      };
    }
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
}

export async function* peersOnline(directory: Directory): AsyncGenerator<Record<string, unknown>> {
  let pageToken = "";
  do {
    const page = await directory.call(DirectoryService.method.listPeers, { pageToken });
    for (const peer of page.peers) {
      if (!isUserName(peer.user) || !isPeerId(peer.peerId)) continue;
      yield {
        user: peer.user,
        peer_id: peer.peerId,
        endpoint: firstEndpoint(peer),
        resources: sizeFromWire(peer.resourceCount),
        size_bytes: sizeFromWire(peer.sizeBytes),
        since: rfc3339(peer.onlineSinceTime),
      };
    }
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
}

export interface Target {
  /** Bare hex */
  readonly digest: string;
  /** To save under, unless told otherwise */
  readonly name: string;
}

/**
 * What TARGET means: `b3:` digest or its beginning, OWNER:PATH where OWNER shares that, a path, a name.
 * @throws Failure 3 nothing, 4 several contents
 */
export async function resolve(directory: Directory, target: string): Promise<Target> {
  for (const criteria of meanings(target)) {
    const found: Found[] = [];
    for await (const one of query(directory, criteria)) found.push(one);
    const first = found[0];
    if (first === undefined) continue;
    if (found.every(({ digest }) => digest === first.digest)) return { digest: first.digest.slice(3), name: first.name };
    const candidates = [...new Map(found.map((one) => [`${one.owner}:${one.path}`, one])).keys()];
    const count = new Set(found.map(({ digest }) => digest)).size;
    throw new Failure(4, "AMBIGUOUS", `'${target}' stands for ${count} different contents: name one as OWNER:PATH or by its digest`, { candidates });
  }
  throw new Failure(3, "NOT_FOUND", `nobody online shares '${target}'`);
}

function meanings(target: string): Criteria[] {
  if (target.startsWith("b3:")) {
    const digestPrefix = target.slice(3);
    if (!/^[0-9a-f]{8,64}$/.test(digestPrefix)) throw new Failure(2, "USAGE", "a digest is b3: and 8 to 64 lower-case hex");
    return [{ digestPrefix }];
  }
  const [owner, path] = [target.slice(0, target.indexOf(":")), target.slice(target.indexOf(":") + 1)];
  const byOwner = target.includes(":") && isUserName(owner) && isSharedPath(path) ? [{ owner, path }] : [];
  const byPath = isSharedPath(target) ? [{ path: target }, ...(target.includes("/") ? [] : [{ name: target }])] : [];
  return [...byOwner, ...byPath];
}

function firstEndpoint(peer: ListedPeer): string | null {
  const endpoint = peer.endpoints.find(isEndpoint);
  return endpoint === undefined ? null : showEndpoint(endpoint);
}

function rfc3339(time: Timestamp | undefined): string | null {
  if (time === undefined) return null;
  const date = timestampDate(time);
  return Number.isNaN(date.getTime()) ? null : date.toISOString();
}

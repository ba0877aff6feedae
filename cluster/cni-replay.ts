/** Replays queued CNI DELs through the handlers until each has succeeded. */
import { dequeueDelete, readDeleteQueue } from './cni-delete-queue.ts';
import type { CniAttachment, CniHandlers } from './cni-types.ts';

export interface Replay {
  begin(): void;
  /** Settles once the queued DEL of this attachment, if there is one, was tried. */
  settled(containerId: string, ifname: string): Promise<void>;
  stop(): void;
}

const RETRY_MS = 5_000;

export function startReplay(directory: string, handlers: CniHandlers, log: (line: string) => void): Replay {
  const running = new Map<string, Promise<void>>();
  let retry: NodeJS.Timeout | undefined;
  let stopped = false;

  /** True when the DEL succeeded. */
  async function replayOne(request: CniAttachment): Promise<boolean> {
    const name = `${request.containerId}/${request.ifname}`;
    try {
      const { error } = await handlers.del(request);
      if (error) throw new Error(`${error.msg} (code ${error.code})`);
      dequeueDelete(directory, request);
      log(`cni: replayed queued DEL of ${name}`);
      return true;
    } catch (error) {
      log(
        `cni: queued DEL of ${name} failed and is tried again in ${RETRY_MS} ms: ${error instanceof Error ? error.message : String(error)}`,
      );
      return false;
    }
  }

  function begin(): void {
    const { requests, refused } = readDeleteQueue(directory);
    for (const reason of refused) log(`cni: removed from the delete queue: ${reason}`);
    const tried = requests.map((request) => {
      const one = replayOne(request);
      running.set(
        `${request.containerId}/${request.ifname}`,
        one.then(() => {}),
      );
      return one;
    });
    Promise.all(tried).then((succeeded) => {
      running.clear();
      if (!stopped && succeeded.includes(false)) retry = setTimeout(begin, RETRY_MS).unref();
    });
  }

  return {
    begin,
    settled: (containerId, ifname) => running.get(`${containerId}/${ifname}`) ?? Promise.resolve(),
    stop() {
      stopped = true;
      clearTimeout(retry);
    },
  };
}

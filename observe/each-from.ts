/** An observable's values one by one, for those who take them at their own pace; what waits is kept, so for rare things only. */
import type { Observable } from 'rxjs';

export async function* eachFrom<T>(values$: Observable<T>, signal: AbortSignal): AsyncGenerator<T> {
  const waiting: T[] = [];
  let ended: { error?: unknown } | undefined;
  let wake = (): void => {};
  const subscription = values$.subscribe({
    next: (value) => {
      waiting.push(value);
      wake();
    },
    error: (error: unknown) => {
      ended = { error };
      wake();
    },
    complete: () => {
      ended = {};
      wake();
    },
  });
  const aborted = (): void => wake();
  signal.addEventListener('abort', aborted, { once: true });
  try {
    while (!signal.aborted) {
      const next = waiting.shift();
      if (next !== undefined) yield next;
      else if (ended) {
        if (ended.error) throw ended.error;
        return;
      } else {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    }
  } finally {
    signal.removeEventListener('abort', aborted);
    subscription.unsubscribe();
  }
}

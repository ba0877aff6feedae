/** Lines of the log about watches: one for all that fail by one cause, once a minute. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { ApiTroubles } from './api-troubles.ts';

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

it('says one cause once a minute, with whom it hit', () => {
  const lines: string[] = [];
  const troubles = new ApiTroubles((line) => lines.push(line));
  const paths = ['/api/v1/pods', '/api/v1/nodes', '/api/v1/services', '/api/v1/namespaces', '/api/v1/secrets'];
  const refused = () => {
    for (const path of paths) troubles.tell(path, 'connect ECONNREFUSED 10.0.0.1:6443');
  };
  refused();
  troubles.tell('/api/v1/pods', 'nothing was heard for 90 s');
  vi.advanceTimersByTime(1_000);
  const all =
    'api server: connect ECONNREFUSED 10.0.0.1:6443 (/api/v1/pods, /api/v1/nodes, /api/v1/services and 2 more)';
  expect(lines).toEqual([all, 'api server: nothing was heard for 90 s (/api/v1/pods)']);
  for (let second = 0; second < 30; second++) {
    refused();
    vi.advanceTimersByTime(1_000);
  }
  expect(lines).toHaveLength(2);
  vi.advanceTimersByTime(30_000);
  expect(lines.slice(2)).toEqual([all]);
});

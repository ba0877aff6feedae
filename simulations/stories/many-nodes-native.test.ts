/** Three nodes over a network that knows where pods are. */
import { manyNodes } from './many-nodes/story.ts';

manyNodes('native', { onTheWire: 'clear', kills: 1, brief: true });

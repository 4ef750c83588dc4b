import { emptyNodeConfig, type NodeConfig } from '../../api/nodeconfig.ts';
import { diffConfig } from '../../core/node-config/compile.ts';
import { ConfigStore } from './config-store.ts';

/** A store that has been told this configuration. */
export function storeOf(config: NodeConfig): ConfigStore {
  const store = new ConfigStore();
  store.apply(diffConfig(emptyNodeConfig(), config));
  return store;
}

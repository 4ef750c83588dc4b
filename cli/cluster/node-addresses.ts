import { networkInterfaces } from 'node:os';
import { Command } from 'commander';
import { canonicalIp } from '../../lib/ip/address.ts';

/** `bulkhead node-addresses`: runs beside an agent, on the network of its node, and prints its addresses with their devices. */
export function nodeAddressesCommand(): Command {
  return new Command('node-addresses')
    .description('for `bulkhead trace` and others: runs in an agent pod')
    .action(() => {
      const all = Object.entries(networkInterfaces()).flatMap(([dev, addresses]) =>
        (addresses ?? []).flatMap(({ address }) => {
          const ip = canonicalIp(address);
          return ip === undefined ? [] : [{ dev, ip }];
        }),
      );
      process.stdout.write(JSON.stringify(all));
    });
}

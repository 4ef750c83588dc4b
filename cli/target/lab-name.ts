/** The lab that is meant when no --name is given: BULKHEAD_LAB, or the one called default. */
export const defaultLabName = (): string => process.env['BULKHEAD_LAB'] || 'default';

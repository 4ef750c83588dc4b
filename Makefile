# Few words; each calls one script. `make lab` and `make test` set up all that they need.

.PHONY: lab test attacks verify format generate bench bench-networks bench-policy bench-beside bench-budgets bench-kind build image clean kind kind-test kind-test-all kind-conformance kind-policy kind-uninstall kind-down

lab: ## bring up the lab with the example shops and show who reaches whom (ARGS=--once: and take it down)
	@./bulkhead lab run $(ARGS)

test: ## every test
	@hack/test.sh $(ARGS)

attacks: ## the attacks on isolation alone, in full
	@ATTACKS=long hack/test.sh --project system test/attacks $(ARGS)

verify: ## types, lint, format, generated files, shell
	@hack/verify.sh

generate: ## write generated files
	@hack/setup.sh && node_modules/.bin/node hack/generate.ts

format:
	@hack/setup.sh && node_modules/.bin/biome format --write .

bench: ## compare with the reference plugins and with bare kernel devices; writes docs/benchmarks.md
	@hack/bench.sh $(ARGS)

bench-networks: ## what routers and many Services cost; writes docs/benchmarks-networks.md
	@hack/setup.sh && node_modules/.bin/node hack/bench/networks.ts $(ARGS)

bench-policy: ## what policies cost; writes docs/benchmarks-policy.md
	@hack/setup.sh && node_modules/.bin/node hack/bench/policy.ts $(ARGS)

bench-beside: ## this version beside another (REF), in one run; writes docs/benchmarks-beside.md
	@hack/bench/beside.sh $(ARGS)

bench-budgets: ## what one tenant's largest objects cost another tenant, in the lab; prints a table (ARGS="--only WORD --seconds N")
	@hack/setup.sh && node_modules/.bin/node hack/bench/budgets.ts $(ARGS)

bench-kind: ## pods on real kubelets beside ptp, on the cluster of make kind; prints a table
	@hack/bench/kind.sh

build: ## all programs into dist/
	@hack/setup.sh

image: ## the container image (IMAGE, BASE_IMAGE, ARCH)
	@hack/image.sh

kind: ## a kind cluster with Bulkhead and the shops, and who reaches whom (settings: hack/kind/settings.sh)
	@hack/kind.sh up

kind-test: ## the cluster suite on a cluster of its own
	@hack/kind-test.sh

kind-test-all: ## the same for ipv4, ipv6 and dual, with both modes of kube-proxy
	@hack/kind-test.sh all

kind-conformance: ## Kubernetes' own e2e.test, [sig-network] Conformance, on the cluster of make kind
	@hack/kind/conformance.sh

kind-policy: ## the policy suites of Kubernetes and of network-policy-api, whole, on the cluster of make kind
	@hack/kind/policy-suites.sh

kind-uninstall: ## take Bulkhead off the cluster of make kind
	@hack/kind.sh uninstall

kind-down: ## delete the cluster of make kind
	@hack/kind.sh down

clean:
	rm -rf dist node_modules

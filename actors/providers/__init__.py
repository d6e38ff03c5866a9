"""One file per provider; `interface` says what a provider is, `registry` finds it by its `type`."""

"""From a spec to a target's own objects, one file a target."""

head();
legend();
plan();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", legend);
events.begin();
timeline.begin();

"""The Flask view of bench_app, imported at once: a worker that is ready answers at full speed."""

import bench_app

application = bench_app.load_flask()

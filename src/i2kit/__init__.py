"""i2kit deploys containers as immutable virtual machines, with no cluster to run.

The pipeline, one package or module a stage:
manifest (text → Workloads and Services) → image (Workload → LinuxKit template → MachineImage)
→ providers (Release → running VMs). `app` joins the stages, `cli` gives them words.
"""

__version__ = "0.1.0"

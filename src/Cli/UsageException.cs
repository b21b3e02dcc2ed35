using Bellman.Kernels;

namespace Bellman.Cli;

/// <summary>The command line itself is wrong: exit code 2, and a hint at the command's help.</summary>
internal sealed class UsageException(string message) : BellmanException(message);

using Bellman.Kernels;

namespace Bellman.Runtime.Checkpoints;

/// <summary>
/// A model folder or one of its files cannot be read or written: missing, malformed, of another shape or type than its
/// configuration says, or refused by the file system. The message names the file, what was expected, what was received and
/// the remedy.
/// </summary>
public sealed class CheckpointException : BellmanException
{
    /// <summary>Creates an error with a one-line message.</summary>
    public CheckpointException(string message) : base(message) { }

    /// <summary>Creates an error with a one-line message and the error that caused it.</summary>
    public CheckpointException(string message, Exception inner) : base(message, inner) { }
}

using Bellman.Kernels;

namespace Bellman.Training.Data;

/// <summary>
/// A data file cannot be read as trajectories. The message names file, line and field, what was expected, what was received and
/// the remedy.
/// </summary>
public sealed class DataException : BellmanException
{
    /// <summary>Creates an error with a one-line message.</summary>
    public DataException(string message) : base(message) { }

    /// <summary>Creates an error with a one-line message and the error that caused it.</summary>
    public DataException(string message, Exception inner) : base(message, inner) { }
}

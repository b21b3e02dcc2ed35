namespace Bellman.Kernels;

/// <summary>
/// Base of every error that Bellman reports on purpose. The message is one line that names the operation, what was
/// expected, what was received and the remedy; the command line prints it without a stack trace.
/// </summary>
public class BellmanException : Exception
{
    /// <summary>Creates an error with a one-line message.</summary>
    public BellmanException(string message) : base(message) { }

    /// <summary>Creates an error with a one-line message and the error that caused it.</summary>
    public BellmanException(string message, Exception inner) : base(message, inner) { }
}

/// <summary>An operation received tensors whose shapes or element types do not fit together.</summary>
public sealed class ShapeException(string message) : BellmanException(message);

/// <summary>A device is missing, out of memory, or was handed a tensor that lives elsewhere.</summary>
public sealed class DeviceException(string message) : BellmanException(message);

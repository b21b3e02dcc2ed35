using System.Text;
using Bellman.Runtime.Checkpoints;
using Bellman.Training.Jobs;

namespace Bellman.Cli;

/// <summary>What a command reads from and writes to; tests put their own in its place.</summary>
/// <param name="input">Standard input.</param>
/// <param name="output">Standard output: results.</param>
/// <param name="error">Standard error: progress, remarks, errors.</param>
/// <param name="isInteractive">Whether a person watches standard error on a terminal.</param>
/// <param name="hasColour">Whether standard output is a terminal that shows colours.</param>
/// <param name="cancellation">Asked for by Ctrl-C.</param>
internal sealed class Terminal(TextReader input, TextWriter output, TextWriter error, bool isInteractive, bool hasColour, CancellationToken cancellation)
{
    /// <summary>Stands for standard input or output wherever a file is taken.</summary>
    public const string Standard = "-";

    public TextReader Input => input;

    public TextWriter Output => output;

    public TextWriter Error => error;

    public bool IsInteractive => isInteractive;

    public bool HasColour => hasColour;

    public CancellationToken Cancellation => cancellation;

    /// <summary>The lines of a file or of standard input.</summary>
    public IEnumerable<JsonLine> ReadLines(string path) => path == Standard ? JsonLines.Read(input, "standard input") : JsonLines.Read(path);

    /// <summary>Writes a file whole or not at all, or standard output as it comes.</summary>
    public void WriteLines(string path, Action<JsonLineWriter> write)
    {
        if (path == Standard)
        {
            write(new JsonLineWriter(output));
        }
        else if (IsDevice(path))
        {
            // A device such as /dev/null is written into; a rename would replace it.
            using var device = new StreamWriter(new FileStream(path, FileMode.Open, FileAccess.Write), new UTF8Encoding(false)) { NewLine = "\n" };
            write(new JsonLineWriter(device));
        }
        else
        {
            JsonLines.Write(path, write);
        }
    }

    /// <summary>Refuses a file that could not be written, before the work that it is for.</summary>
    public static void CheckWritable(string? path)
    {
        if (path is not null && path != Standard && !IsDevice(path)) AtomicFile.CheckWritable(path);
    }

    /// <summary>Where the part of a result goes that is there when work is stopped: the file asked for would be whole.</summary>
    public static string Partial(string path) => path == Standard || IsDevice(path) ? path : path + ".partial";

    private static bool IsDevice(string path) => !OperatingSystem.IsWindows() && path.StartsWith("/dev/", StringComparison.Ordinal) && File.Exists(path);

    /// <summary>Where remarks belong when <paramref name="path"/> is written: not between the lines of standard output.</summary>
    public TextWriter Beside(string? path) => path == Standard ? error : output;
}

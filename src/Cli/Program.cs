using System.CommandLine;
using System.Runtime.InteropServices;
using System.Text;
using Bellman.Cli.Commands;
using Bellman.Kernels;
using Bellman.Training.Recipes;

namespace Bellman.Cli;

/// <summary>The command <c>bellman</c>: arguments in, exit code out. Every error becomes one line.</summary>
internal static class Program
{
    /// <summary>Name of the command in help and errors.</summary>
    public const string Name = "bellman";

    private static int Main(string[] args)
    {
        using var cancelled = new CancellationTokenSource();
        var utf8 = new UTF8Encoding(false);
        using var output = new StreamWriter(Console.OpenStandardOutput(), utf8) { AutoFlush = !Console.IsOutputRedirected };
        using var error = new StreamWriter(Console.OpenStandardError(), utf8) { AutoFlush = true };
        using var input = new StreamReader(Console.OpenStandardInput(), utf8);
        // The first signal asks for a clean stop; a second one, with its default effect, ends the process at once.
        void Stop(PosixSignalContext signal)
        {
            if (cancelled.IsCancellationRequested) return;
            signal.Cancel = true;
            error.WriteLine($"{Name}: stopping at the next point that can be resumed; press Ctrl-C again to leave at once");
            cancelled.Cancel();
        }
        using PosixSignalRegistration interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Stop), terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Stop);
        var terminal = new Terminal(input, output, error, !Console.IsErrorRedirected, !Console.IsOutputRedirected, cancelled.Token);
        return Run(args, terminal);
    }

    /// <summary>Runs one command line.</summary>
    public static int Run(IReadOnlyList<string> args, Terminal terminal)
    {
        RootCommand root = Root.Create(terminal);
        ParseResult parsed = root.Parse(args, new ParserConfiguration { EnablePosixBundling = false, ResponseFileTokenReplacer = null });
        Command command = parsed.CommandResult.Command;
        string name = command is RootCommand ? Name : $"{Name} {command.Name}";
        try
        {
            int code = UsageErrors.Find(parsed) is { } problem ? throw new UsageException(problem)
                : parsed.Invoke(new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null, Output = terminal.Output, Error = terminal.Error });
            terminal.Output.Flush();
            return code;
        }
        catch (Exception error)
        {
            return Report(error, name, parsed.GetValue<bool>(Root.DebugName), terminal);
        }
    }

    private static int Report(Exception error, string name, bool debug, Terminal terminal)
    {
        FlushQuietly(terminal.Output);
        (int code, string text) = error switch
        {
            UsageException => (ExitCodes.Usage, $"{OneLine(error.Message)} See '{name} --help'."),

            OperationCanceledException => (ExitCodes.Cancelled, "stopped."),
            RecipeException => (ExitCodes.Usage, OneLine(error.Message)),
            BellmanException => (ExitCodes.Failure, OneLine(error.Message)),
            OutOfMemoryException => (ExitCodes.Failure, "not enough memory; use a smaller model, shorter sequences or smaller batches."),
            IOException or UnauthorizedAccessException => (ExitCodes.Failure, OneLine(error.Message)),
            _ => (ExitCodes.Failure, $"a fault of this program, {error.GetType().Name}: {OneLine(error.Message)} Please report it{(debug ? "." : "; --debug shows where it happened.")}"),
        };
        terminal.Error.WriteLine($"{name}: {text}");
        if (debug) terminal.Error.WriteLine(error);
        return code;
    }

    private static string OneLine(string text) => string.Join(' ', text.Split(['\r', '\n'], StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries));

    // When the reader of standard output is gone, that is the error already being reported.
    private static void FlushQuietly(TextWriter output)
    {
        try { output.Flush(); }
        catch (IOException) { }
    }
}

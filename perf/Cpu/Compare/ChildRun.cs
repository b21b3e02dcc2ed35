using System.Diagnostics;
using System.Text.Json;
using Bellman.Kernels;

namespace Bellman.Perf.Compare;

/// <summary>Programs that end with one JSON object in their last line of output.</summary>
internal static class ChildRun
{
    /// <summary>Runs a program and reads its last line.</summary>
    /// <param name="program">What to start.</param>
    /// <param name="arguments">Its arguments.</param>
    /// <param name="environment">Variables beside those of this process.</param>
    /// <exception cref="BellmanException">It cannot be started, fails, or ends with something else.</exception>
    public static JsonElement Json(string program, IReadOnlyList<string> arguments, params ReadOnlySpan<(string Name, string Value)> environment)
    {
        (string output, string error, int code) = Run(program, arguments, environment);
        string last = LastLine(output);
        if (code != 0) throw new BellmanException($"{Shown(program, arguments)}: exit code {code}: {LastLine(error)}");
        try
        {
            using var json = JsonDocument.Parse(last);
            return json.RootElement.Clone();
        }
        catch (JsonException)
        {
            throw new BellmanException($"{Shown(program, arguments)}: expected one JSON object as the last line, received '{last}'.");
        }
    }

    /// <summary>Runs a program to its end.</summary>
    /// <exception cref="BellmanException">It cannot be started.</exception>
    public static (string Output, string Error, int Code) Run(string program, IReadOnlyList<string> arguments, params ReadOnlySpan<(string Name, string Value)> environment)
    {
        var start = new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach ((string name, string value) in environment) start.Environment[name] = value;
        try
        {
            using Process process = Process.Start(start)!;
            Task<string> error = process.StandardError.ReadToEndAsync();
            string output = process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            return (output, error.Result, process.ExitCode);
        }
        catch (System.ComponentModel.Win32Exception error)
        {
            throw new BellmanException($"{program} cannot be started: {error.Message}.");
        }
    }

    /// <summary>The last line that is not empty.</summary>
    public static string LastLine(string text) => text.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries) is [.., var last] ? last : "";

    private static string Shown(string program, IReadOnlyList<string> arguments) => string.Join(' ', arguments.Prepend(program).Select(x => Path.IsPathRooted(x) ? Path.GetFileName(x) : x));
}

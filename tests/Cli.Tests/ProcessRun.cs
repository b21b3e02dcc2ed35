using System.Diagnostics;
using Bellman.Tests;

namespace Bellman.Cli.Tests;

/// <summary>Programs as processes of their own, started in the root of the checkout.</summary>
internal static class ProcessRun
{
    public static (int Code, string Output, string Error) Of(string program, string[] arguments, string input)
    {
        using Process process = Start(program, arguments);
        process.StandardInput.Write(input);
        process.StandardInput.Close();
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output, error.Result);
    }

    public static Process Start(string program, string[] arguments) => Process.Start(new ProcessStartInfo(program, arguments)
    {
        RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true, UseShellExecute = false,
        StandardInputEncoding = new System.Text.UTF8Encoding(false), StandardOutputEncoding = System.Text.Encoding.UTF8, StandardErrorEncoding = System.Text.Encoding.UTF8, WorkingDirectory = TestData.Repository,
    })!;
}

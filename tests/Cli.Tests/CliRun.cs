using Xunit;

namespace Bellman.Cli.Tests;

/// <summary>One run of the command inside the test's process.</summary>
internal sealed record CliRun(int Code, string Output, string Error)
{
    public static CliRun Of(params string[] args) => WithInput("", args);

    public static CliRun WithInput(string input, params string[] args) => Of(input, CancellationToken.None, args);

    public static CliRun Of(string input, CancellationToken cancellation, params string[] args)
    {
        using var output = new StringWriter { NewLine = "\n" };
        using var error = new StringWriter { NewLine = "\n" };
        int code = Program.Run(args, new Terminal(new StringReader(input), output, error, isInteractive: false, hasColour: false, cancellation));
        return new CliRun(code, output.ToString(), error.ToString());
    }

    /// <summary>Lines of standard output.</summary>
    public string[] Lines => Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);

    public CliRun Succeeds()
    {
        Assert.True(Code == 0, $"exit code {Code}: {Error}");
        return this;
    }

    /// <summary>Failed with this code and exactly one line that holds all the given parts; no stack trace, nothing on standard output.</summary>
    public CliRun Fails(int code, params string[] parts)
    {
        Assert.True(code == Code, $"exit code {Code} instead of {code}: {Error}");
        Assert.Equal("", Output);
        Assert.EndsWith("\n", Error, StringComparison.Ordinal);
        Assert.Single(Error.TrimEnd('\n').Split('\n'));
        Assert.StartsWith("bellman", Error, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", Error, StringComparison.Ordinal);
        Assert.DoesNotContain("fault of this program", Error, StringComparison.Ordinal);
        foreach (string part in parts) Assert.Contains(part, Error, StringComparison.Ordinal);
        return this;
    }
}

using Xunit;

namespace Bellman.Cli.Tests;

/// <summary>Wrong command lines: exit code 2, one line, a hint.</summary>
public sealed class UsageTests
{
    [Theory]
    [InlineData("expected a command")]
    [InlineData("unknown command 'tokenzie', did you mean 'tokenize'?", "tokenzie")]
    [InlineData("unknown command 'xyzzy'.", "xyzzy")]
    [InlineData("expected --model DIR and --input FILE and --out FILE.", "tokenize")]
    [InlineData("unknown option '--modle', did you mean '--model'?", "tokenize", "--modle", "x")]
    [InlineData("--data: expected a value (FILE).", "grade", "--format", "gsm8k", "--data")]
    [InlineData("--format: expected gsm8k, math", "grade", "--format", "gsm9k", "--data", "x")]
    [InlineData("did you mean 'gsm8k'?", "grade", "--format", "gsm9k", "--data", "x")]
    [InlineData("--strict belongs to --format gsm8k", "grade", "--format", "math", "--strict", "--data", "x")]
    [InlineData("'extra' is one word too many", "grade", "--format", "math", "--data", "x", "extra")]
    [InlineData("--seed: expected a whole number 0 or more, received '-1'.", "generate", "--model", "x", "--prompt", "y", "--seed", "-1")]
    [InlineData("--temperature: expected a number 0 or more, received 'hot'.", "generate", "--model", "x", "--prompt", "y", "--temperature", "hot")]
    [InlineData("--temperature: expected a number 0 or more, received 'NaN'.", "generate", "--model", "x", "--prompt", "y", "--temperature", "NaN")]
    [InlineData("--top-p: expected a number from 1E-06 to 1, received '0'.", "generate", "--model", "x", "--prompt", "y", "--top-p", "0")]
    [InlineData("--max-tokens: expected a whole number 1 or more, received '1.5'.", "generate", "--model", "x", "--prompt", "y", "--max-tokens", "1.5")]
    [InlineData("--model: expected one value, received 2.", "generate", "--model", "x", "--model", "z", "--prompt", "y")]
    [InlineData("expected either --prompt or --input, received neither.", "generate", "--model", "x")]
    [InlineData("expected either --prompt or --input, received both.", "generate", "--model", "x", "--prompt", "y", "--input", "z")]
    [InlineData("--search beam needs a value model, --value DIR, or the policy that this one was trained from, --reference DIR.", "eval", "--model", "x", "--data", "y", "--format", "gsm8k", "--search", "beam")]
    [InlineData("--reference is the folder of --model, so that every log-ratio would be 0", "eval", "--model", "x", "--reference", "./x/", "--data", "y", "--format", "gsm8k", "--search", "beam")]
    [InlineData("--step-end: expected a text, received an empty one.", "eval", "--model", "x", "--data", "y", "--format", "gsm8k", "--step-end", "")]
    [InlineData("--beta belongs to --reference.", "eval", "--model", "x", "--value", "v", "--beta", "0.1", "--data", "y", "--format", "gsm8k", "--search", "beam")]
    [InlineData("--resume needs a file", "rollout", "--model", "x", "--data", "y", "--format", "gsm8k", "--out", "-", "--resume")]
    [InlineData("--prompt-template: expected {prompt} in it", "generate", "--model", "x", "--prompt", "y", "--prompt-template", "Q:")]
    [InlineData("expected either a recipe or --model DIR, received neither.", "inspect")]
    [InlineData("expected a recipe", "train")]
    public void WrongUsageIsOneLineWithAHint(string expected, params string[] args) => CliRun.Of(args).Fails(2, expected, "--help'.");

    [Fact]
    public void TheVersionIsOneLine() => Assert.Matches(@"^\d+\.\d+\.\d+\S*\n$", CliRun.Of("--version").Succeeds().Output);

    [Fact]
    public void AFaultOfTheProgramIsToldAsSuchAndShownOnRequest()
    {
        // A terminal without input stands for a fault that nobody foresaw.
        var broken = new Terminal(null!, new StringWriter(), new StringWriter(), false, false, default);
        Assert.Equal(1, Program.Run(["grade", "--format", "gsm8k", "--data", "-"], broken));
        Assert.Contains("a fault of this program, NullReferenceException", broken.Error.ToString(), StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", broken.Error.ToString(), StringComparison.Ordinal);
        Assert.Equal(1, Program.Run(["grade", "--format", "gsm8k", "--data", "-", "--debug"], broken));
        Assert.Contains("   at ", broken.Error.ToString(), StringComparison.Ordinal);
    }
}

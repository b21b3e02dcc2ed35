using Bellman.Cli.Commands;
using Bellman.Tests;
using Xunit;

namespace Bellman.Cli.Tests;

/// <summary>
/// The wording of all help texts, compared with the files under Golden, so that changes are seen in review. After a wanted
/// change, set BELLMAN_WRITE_HELP=1 for one run, and look at the difference.
/// </summary>
public sealed class HelpTests
{
    public static TheoryData<string> Commands => [.. Root.Create(Silent()).Descendants().Select(x => x.CallName())];

    private static string Golden => Path.Combine(TestData.Repository, "tests", "Cli.Tests", "Golden");

    [Fact]
    public void HelpOfTheWholeIsAsWritten() => Same("bellman", CliRun.Of("--help"));

    [Theory]
    [MemberData(nameof(Commands))]
    public void HelpOfACommandIsAsWritten(string command) => Same(FileName(command), CliRun.Of([.. command.Split(' '), "--help"]));

    [Fact]
    public void EveryHelpFileBelongsToACommand() =>
        Assert.Equal(["bellman", .. Commands.Select(x => FileName(x.Data)).Order()], Directory.GetFiles(Golden, "*.txt").Select(x => Path.GetFileNameWithoutExtension(x)!).Order());

    [Fact]
    public void HelpIsShownEvenBesideMistakes()
    {
        CliRun run = CliRun.Of("train", "--help", "--nonsense").Succeeds();
        Assert.StartsWith("bellman train - ", run.Output, StringComparison.Ordinal);
    }

    [Fact]
    public void LinesFitAScreen()
    {
        foreach (string command in Commands.Select(x => x.Data))
            foreach (string line in CliRun.Of([.. command.Split(' '), "--help"]).Lines.TakeWhile(x => !x.StartsWith("Example", StringComparison.Ordinal)).Skip(2))
                Assert.True(line.Length <= 110, $"{command}: {line}");
    }

    private static void Same(string name, CliRun run)
    {
        run.Succeeds();
        Assert.Equal("", run.Error);
        string path = Path.Combine(Golden, name + ".txt");
        if (Environment.GetEnvironmentVariable("BELLMAN_WRITE_HELP") == "1") File.WriteAllText(path, run.Output);
        Assert.True(File.Exists(path), $"{path} is missing; run once with BELLMAN_WRITE_HELP=1");
        Assert.Equal(File.ReadAllText(path), run.Output);
    }

    private static string FileName(string command) => command.Replace(' ', '-');

    private static Terminal Silent() => new(TextReader.Null, TextWriter.Null, TextWriter.Null, false, false, default);
}

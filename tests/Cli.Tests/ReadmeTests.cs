using System.CommandLine;
using System.Text;
using System.Text.RegularExpressions;
using Bellman.Cli.Commands;
using Bellman.Tests;
using Xunit;

namespace Bellman.Cli.Tests;

/// <summary>What README and documents promise: commands that exist, a sample that runs, links that lead somewhere.</summary>
public sealed partial class ReadmeTests(TinyModel model) : IClassFixture<TinyModel>
{
    private static string Readme => File.ReadAllText(Path.Combine(TestData.Repository, "README.md"));

    private static IEnumerable<string> Documents =>
    [
        Path.Combine(TestData.Repository, "README.md"), Path.Combine(TestData.Repository, "CONTRIBUTING.md"),
        .. Directory.GetFiles(Path.Combine(TestData.Repository, "docs"), "*.md", SearchOption.AllDirectories), .. Directory.GetFiles(Path.Combine(TestData.Repository, "recipes"), "*.yaml"),
    ];

    [Fact]
    public void EveryCommandLineInTheDocumentsIsUnderstood()
    {
        int found = 0;
        RootCommand root = Root.Create(new Terminal(TextReader.Null, TextWriter.Null, TextWriter.Null, false, false, default));
        foreach (string document in Documents)
        {
            foreach (string line in CommandLines(File.ReadAllText(document)))
            {
                string[] words = Words(line);
                found++;
                Assert.True(UsageErrors.Find(root.Parse(words)) is null, $"{Path.GetFileName(document)}: bellman {line}: {UsageErrors.Find(root.Parse(words))}");
            }
        }
        Assert.True(found >= 15, $"only {found} command lines were found");
    }

    [Fact]
    public void EveryExampleOfTheHelpIsUnderstood()
    {
        RootCommand root = Root.Create(new Terminal(TextReader.Null, TextWriter.Null, TextWriter.Null, false, false, default));
        foreach (CliCommand command in root.Descendants().OfType<CliCommand>())
        {
            Assert.NotEmpty(command.Examples);
            foreach ((string line, _) in command.Examples)
            {
                string words = line[(line.IndexOf("bellman ", StringComparison.Ordinal) + 8)..];
                Assert.StartsWith(command.CallName(), words, StringComparison.Ordinal);
                Assert.True(UsageErrors.Find(root.Parse(Words(words))) is null, line);
            }
        }
    }

    [Fact]
    public void EveryCommandHasItsRowInTheReadme()
    {
        foreach (CliCommand command in Root.Create(new Terminal(TextReader.Null, TextWriter.Null, TextWriter.Null, false, false, default)).Descendants().OfType<CliCommand>())
            Assert.Contains($"| `{command.CallName()}` |", Readme, StringComparison.Ordinal);
    }

    [Fact]
    [Trait("Category", "Golden")]
    public void CheapCommandsOfTheReadmeRun()
    {
        string data = Path.GetFullPath(Path.Combine(TestData.Data("models/stories260K"), "..", "..")), run = model.File("readme-run");
        model.Write("texts.jsonl", """{"text":"one plus one"}""");
        model.Write("answers.jsonl", """{"prediction":"#### 4","reference":"#### 4"}""");
        model.Write("rollouts.jsonl", """{"prompt":"Once","response":" upon","reward":1,"finished":true}""");
        int ran = 0;
        // In the order of the page, and small: what one line writes, the next one reads.
        foreach (string line in CommandLines(Readme))
        {
            string[] words = [.. Words(line).Select(x => x.Replace("../shared/data", data, StringComparison.Ordinal).Replace("runs/oreo", run, StringComparison.Ordinal))];
            if (line.Contains("models/base", StringComparison.Ordinal) || line.Contains("runs/sft", StringComparison.Ordinal)) continue;
            for (int i = 0; i < words.Length; i++)
            {
                if (words[i].StartsWith("recipes/", StringComparison.Ordinal)) words[i] = Path.Combine(TestData.Repository, words[i]);
                else if (words[i].EndsWith(".jsonl", StringComparison.Ordinal) && !words[i].Contains('/')) words[i] = model.File(words[i]);
                else if (words[i - 1 < 0 ? 0 : i - 1] == "--limit") words[i] = "2";
            }
            string[] small = words[0] switch
            {
                "train" => ["--set", "data.limit=8", "train.batch_size=4"],
                "inspect" when words.Contains("--set") => ["--set", "data.limit=20"],
                "eval" => ["--max-tokens", "16"],
                _ => [],
            };
            CliRun.Of([.. words, .. small]).Succeeds();
            ran++;
        }
        Assert.True(ran >= 8, $"only {ran} commands ran");
    }

    [Fact]
    public void TheSampleInTheReadmeIsTheOneThatIsCompiled()
    {
        string sample = File.ReadAllText(Path.Combine(TestData.Repository, "samples", "Quick", "Program.cs"));
        Assert.Contains($"```csharp\n{sample}```", Readme, StringComparison.Ordinal);
    }

    [Fact]
    public void TheSampleRuns()
    {
        (int code, string output, string error) = ProcessRun.Of("dotnet", ["exec", Path.Combine(AppContext.BaseDirectory, "Bellman.Samples.Quick.dll"), model.Policy, model.Value, "1+1="], "");
        Assert.True(code == 0, error);
        // Greedy text, four letters' scores, the beam's answer: the same as the command's.
        string greedy = CliRun.Of("generate", "--model", model.Policy, "--prompt", "1+1=", "--max-tokens", "64").Succeeds().Output.TrimEnd('\n');
        Assert.StartsWith(greedy, output, StringComparison.Ordinal);
        Assert.Equal(3, Regex.Count(output[(output.IndexOf("log-probs and values:", StringComparison.Ordinal) + 21)..output.IndexOf("best of the beam", StringComparison.Ordinal)], @"\(-"));
        Assert.Contains("best of the beam, V = ", output, StringComparison.Ordinal);
    }

    [Fact]
    public void TheSampleOfASearchRuns()
    {
        string trees = model.File("sample-trees.jsonl");
        (int code, string output, string error) = ProcessRun.Of("dotnet", ["exec", Path.Combine(AppContext.BaseDirectory, "Bellman.Samples.Search.dll"), model.Policy, model.Value, trees, "1+1=", "2+1="], "");
        Assert.True(code == 0, error);
        Assert.Contains("2+1= → ", output, StringComparison.Ordinal);
        Assert.Equal(2, File.ReadAllLines(trees).Length);
        Assert.Contains("\"question\":\"1+1=\"", File.ReadAllText(trees), StringComparison.Ordinal);
    }

    [Fact]
    public void LinksLeadSomewhere()
    {
        foreach (string document in Documents.Where(x => x.EndsWith(".md", StringComparison.Ordinal)))
        {
            foreach (Match link in LocalLink().Matches(File.ReadAllText(document)))
            {
                string target = Path.Combine(Path.GetDirectoryName(document)!, link.Groups[1].Value);
                Assert.True(File.Exists(target) || Directory.Exists(target), $"{Path.GetFileName(document)} links to {link.Groups[1].Value}, which is not there");
            }
        }
    }

    /// <summary>What follows "bellman" or "dotnet run … --" on lines of code.</summary>
    private static IEnumerable<string> CommandLines(string text)
    {
        foreach (string line in text.Split('\n'))
        {
            Match match = CommandLine().Match(line);
            if (match.Success && !match.Groups[1].Value.StartsWith("COMMAND", StringComparison.Ordinal)) yield return match.Groups[1].Value.Trim();
        }
    }

    /// <summary>Splits a line as a shell does; double quotes are enough here.</summary>
    private static string[] Words(string line)
    {
        var words = new List<string>();
        var word = new StringBuilder();
        bool quoted = false, any = false;
        foreach (char character in line + ' ')
        {
            if (character == '"') (quoted, any) = (!quoted, true);
            else if (character != ' ' || quoted) word.Append(character);
            else if (word.Length > 0 || any)
            {
                words.Add(word.ToString());
                word.Clear();
                any = false;
            }
        }
        return [.. words];
    }

    [GeneratedRegex(@"^#? *(?:bellman|dotnet run --project src/Cli -c Release --) +([a-z]+(?: .*)?)$")]
    private static partial Regex CommandLine();

    [GeneratedRegex(@"\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)")]
    private static partial Regex LocalLink();
}

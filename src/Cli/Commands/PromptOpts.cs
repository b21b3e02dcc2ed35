using System.CommandLine;
using Bellman.Runtime.Tokenizers;
using Bellman.Training.Jobs;

namespace Bellman.Cli.Commands;

/// <summary>The options of commands that make prompts of questions.</summary>
internal sealed class PromptOpts
{
    public Option<string?> Template { get; } = Opt.Text("--prompt-template", "TEXT", "Text around each prompt, which {prompt} stands for; \\n is a line break. Default: {prompt}.");

    public Option<bool> Chat { get; } = Opt.Flag("--chat", "Make each prompt the user's message of the model's chat template.");

    public void AddTo(Command command) => command.Add(Template, Chat);

    /// <summary>The template with its line breaks.</summary>
    public string Text(ParseResult parsed) => Text(parsed.GetValue(Template));

    /// <summary>A template as it was typed, with its line breaks; a template without place for the prompt is refused.</summary>
    public static string Text(string? typed)
    {
        string template = typed ?? "{prompt}";
        if (!template.Contains("{prompt}", StringComparison.Ordinal)) throw new UsageException($"--prompt-template: expected {{prompt}} in it, received '{template}'.");
        return template.Replace("\\n", "\n", StringComparison.Ordinal);
    }

    /// <summary>Refuses a wrong template before anything is loaded.</summary>
    public void Check(ParseResult parsed) => Text(parsed);

    public PromptEncoder Read(ParseResult parsed, Tokenizer tokenizer) => new(tokenizer, Text(parsed), parsed.GetValue(Chat));
}

using YamlDotNet.Core;
using YamlDotNet.Core.Events;

namespace Bellman.Training.Recipes;

/// <summary>One value as it was written: a text, a list of texts, or null (both are null).</summary>
/// <param name="Text">The text of a scalar.</param>
/// <param name="Items">The texts of a list.</param>
/// <param name="Where">"line 12", or the override it came from.</param>
internal sealed record RawValue(string? Text, List<string>? Items, string Where);

/// <summary>
/// Reads the YAML of a recipe or study and its overrides into raw values by full key name. It walks the parser's events, so that every
/// problem has its line, a wrong key does not hide the next one, and no file can nest deeper than recipes do.
/// </summary>
internal sealed class RecipeReader(KeyTable table, List<string> problems)
{
    private readonly Dictionary<string, RawValue> _values = new(StringComparer.Ordinal);

    /// <summary>What was read, by full key name; only known keys.</summary>
    public IReadOnlyDictionary<string, RawValue> Values => _values;

    /// <summary>Full names of all sections, empty ones too, in the order of the file.</summary>
    public List<string> Sections { get; } = [];

    /// <summary>Reads a whole recipe.</summary>
    public void ReadYaml(string text)
    {
        var parser = new Parser(new StringReader(text));
        try
        {
            parser.Consume<StreamStart>();
            if (parser.Accept<StreamEnd>(out _)) return;
            parser.Consume<DocumentStart>();
            if (parser.Accept<MappingStart>(out _)) ReadSection(parser, "", 1);
            else
            {
                problems.Add($"line {parser.Current!.Start.Line}: expected keys with values ('seed: 0' …), received {Describe(parser.Current)}");
                parser.SkipThisAndNestedEvents();
            }
            parser.Consume<DocumentEnd>();
            if (!parser.Accept<StreamEnd>(out _)) problems.Add($"line {parser.Current!.Start.Line}: expected one document, received a second one after '---'");
        }
        catch (YamlException error)
        {
            problems.Add($"line {error.Start.Line}: not YAML: {error.Message.ReplaceLineEndings(" ").TrimEnd('.')}");
        }
    }

    /// <summary>Applies one override of the form <c>section.key=value</c>. It replaces what the file says.</summary>
    public void ReadOverride(string assignment)
    {
        string where = $"--set {assignment}";
        int equals = assignment.IndexOf('=');
        if (equals <= 0)
        {
            problems.Add($"{where}: expected section.key=value");
            return;
        }
        string name = assignment[..equals].Trim(), text = assignment[(equals + 1)..].Trim();
        if (table.Find(name) is null)
        {
            problems.Add($"{where}: {table.Unknown(name)}");
            return;
        }
        // Lists and quoted texts are YAML; everything else is taken as it stands, so that paths and templates need no second quoting.
        if (text is not (['[', ..] or ['"', .., '"'] or ['\'', .., '\'']))
        {
            _values[name] = new RawValue(IsNull(text) ? null : text, null, where);
            return;
        }
        var parser = new Parser(new StringReader(text));
        try
        {
            parser.Consume<StreamStart>();
            parser.Consume<DocumentStart>();
            if (ReadValue(parser, name, where) is { } value) _values[name] = value;
            parser.Consume<DocumentEnd>();
            parser.Consume<StreamEnd>();
        }
        catch (YamlException error)
        {
            problems.Add($"{where}: not YAML: {error.Message.ReplaceLineEndings(" ").TrimEnd('.')}");
        }
    }

    private void ReadSection(Parser parser, string prefix, int depth)
    {
        parser.Consume<MappingStart>();
        while (!parser.TryConsume<MappingEnd>(out _))
        {
            string where = $"line {parser.Current!.Start.Line}";
            if (TakeScalar(parser) is not { } key)
            {
                problems.Add($"{where}: expected a key, received {Describe(parser.Current)}");
                parser.SkipThisAndNestedEvents();
                parser.SkipThisAndNestedEvents();
                continue;
            }
            string name = prefix + key.Value;
            if (table.Find(name) is not null)
            {
                if (_values.TryGetValue(name, out RawValue? earlier)) problems.Add($"{where}: '{name}' is given twice, first in {earlier.Where}");
                if (ReadValue(parser, name, where) is { } value) _values[name] = value;
                continue;
            }
            bool section = table.IsSection(name);
            if (section) Sections.Add(name);
            if (parser.Accept<MappingStart>(out _) && depth < table.Depth)
            {
                // Also inside an unknown section: each key can then be named with the one it was meant to be.
                int before = problems.Count;
                ReadSection(parser, name + ".", depth + 1);
                if (!section && problems.Count == before) problems.Add($"{where}: {table.Unknown(name)}");
                continue;
            }
            if (section && parser.Current is Scalar empty && IsNull(empty))
            {
                parser.Consume<Scalar>();
                continue;
            }
            problems.Add(section ? $"{where}: '{name}' is a section; expected keys below it, received {Describe(parser.Current!)}" : $"{where}: {table.Unknown(name)}");
            parser.SkipThisAndNestedEvents();
        }
    }

    private RawValue? ReadValue(Parser parser, string name, string where)
    {
        if (TakeScalar(parser) is { } scalar) return new RawValue(IsNull(scalar) ? null : scalar.Value, null, where);
        if (parser.TryConsume<SequenceStart>(out _))
        {
            var items = new List<string>();
            bool good = true;
            while (!parser.TryConsume<SequenceEnd>(out _))
            {
                if (TakeScalar(parser) is { } item)
                {
                    items.Add(item.Value);
                    continue;
                }
                good = false;
                parser.SkipThisAndNestedEvents();
            }
            if (good) return new RawValue(null, items, where);
            problems.Add($"{where}: {name}: expected a list of plain values, received lists, sections or references in it");
            return null;
        }
        problems.Add($"{where}: {name}: expected {table.Find(name)!.TypeText}, received {Describe(parser.Current!)}");
        parser.SkipThisAndNestedEvents();
        return null;
    }

    private static Scalar? TakeScalar(Parser parser) => parser.Accept<Scalar>(out _) ? parser.Consume<Scalar>() : null;

    private static bool IsNull(Scalar scalar) => scalar.Style == ScalarStyle.Plain && IsNull(scalar.Value);

    private static bool IsNull(string text) => text is "" or "~" or "null";

    private static string Describe(ParsingEvent current) => current switch
    {
        Scalar scalar when IsNull(scalar) => "nothing",
        Scalar scalar => $"'{(scalar.Value.Length > 40 ? scalar.Value[..40] + "…" : scalar.Value)}'",
        SequenceStart => "a list",
        MappingStart => "a section",
        AnchorAlias => "a reference",
        _ => "something else",
    };
}

using System.Text;

namespace Bellman.Training.Data;

/// <summary>
/// Questions that a model is judged by and must not have been trained on. Texts are compared without regard to case, white space
/// and Unicode composition.
/// </summary>
/// <param name="promptMessages">Leading turns of a conversation that are prompt only.</param>
public sealed class HeldOutQuestions(int promptMessages = 0)
{
    private readonly Dictionary<string, string> _places = new(StringComparer.OrdinalIgnoreCase);

    /// <summary>Different questions.</summary>
    public int Count => _places.Count;

    /// <summary>Adds the question of a record.</summary>
    /// <param name="record">The record.</param>
    /// <param name="path">Its file, for messages.</param>
    public void Add(DataRecord record, string path) => Add(Question(record), path, record.Line);

    /// <summary>Adds all questions of a file of problems, whatever else its lines hold.</summary>
    /// <param name="path">JSONL with a prompt, question or problem, or a conversation, in each line.</param>
    /// <param name="fields">Names of the fields, or null for the documented ones.</param>
    /// <exception cref="DataException">The file cannot be read, or a line has no question.</exception>
    public void AddProblems(string path, FieldNames? fields = null)
    {
        foreach (DataRecord record in TrajectoryFile.ReadQuestions(path, fields)) Add(record, path);
    }

    /// <summary>Where the question of a record is held out, as "FILE, line N"; null when it is not.</summary>
    public string? Find(DataRecord record) => Find(Question(record));

    internal string? Find(string question) => _places.GetValueOrDefault(Normalise(question));

    internal void Add(string question, string path, int line) => _places.TryAdd(Normalise(question), $"{path}, line {line}");

    private string Question(DataRecord record) => record switch
    {
        // Records of token ids alone have no text; their key is made of the ids.
        ResponseRecord response => response.Prompt.Length > 0 ? response.Prompt : response.Group ?? "",
        PreferenceRecord pair => pair.Prompt,
        ConversationRecord conversation => string.Join('\n', conversation.Turns.Where((x, i) => i < promptMessages || !conversation.Turns.Take(i + 1).Skip(promptMessages).Any(y => y.Role == "assistant")).Select(x => x.Content)),
        _ => record.Group ?? "",
    };

    private static string Normalise(string text)
    {
        var result = new StringBuilder(text.Length);
        bool space = false;
        foreach (char c in text.Normalize(NormalizationForm.FormKC))
        {
            if (char.IsWhiteSpace(c))
            {
                space = result.Length > 0;
                continue;
            }
            if (space) result.Append(' ');
            space = false;
            result.Append(c);
        }
        return result.ToString();
    }
}

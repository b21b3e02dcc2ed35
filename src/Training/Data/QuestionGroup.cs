using System.Text;

namespace Bellman.Training.Data;

/// <summary>All responses to one question, in their order.</summary>
/// <param name="Question">The key.</param>
/// <param name="Items">The responses.</param>
internal sealed record QuestionGroup<T>(string Question, List<T> Items)
{
    /// <summary>A number made of the key alone (FNV-1a), so that what is drawn for a question does not depend on others.</summary>
    public ulong Hash
    {
        get
        {
            ulong hash = 14695981039346656037;
            foreach (byte value in Encoding.UTF8.GetBytes(Question)) hash = (hash ^ value) * 1099511628211;
            return hash;
        }
    }
}

/// <summary>Groups responses by question.</summary>
internal static class QuestionGroup
{
    /// <summary>The groups in the order in which their questions first appear.</summary>
    public static List<QuestionGroup<T>> Of<T>(IEnumerable<T> items, Func<T, string> question)
    {
        var places = new Dictionary<string, QuestionGroup<T>>(StringComparer.Ordinal);
        var groups = new List<QuestionGroup<T>>();
        foreach (T item in items)
        {
            string key = question(item);
            if (!places.TryGetValue(key, out QuestionGroup<T>? group))
            {
                group = new QuestionGroup<T>(key, []);
                places.Add(key, group);
                groups.Add(group);
            }
            group.Items.Add(item);
        }
        return groups;
    }
}

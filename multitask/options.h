// Options of a method as they come from a command line or a config: name=value texts. A factory
// reads what it knows, with its default; whatever remains unread at the end is an error.
#pragma once

#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace concord::multitask {

using OptionMap = std::map<std::string, std::string>;

/// Reads typed values out of an OptionMap. All errors are ValueErrors that name method and option.
class Options {
 public:
  explicit Options(std::string method, OptionMap values = {})
      : method_(std::move(method)), values_(std::move(values)) {}

  const std::string& method() const { return method_; }

  /// A number in [low, high].
  double number(const std::string& name, double standard, double low, double high);
  /// A whole number in [low, high].
  int integer(const std::string& name, int standard, int low, int high);
  /// One of `allowed`; the first is the default unless `standard` is given.
  std::string choice(const std::string& name, std::initializer_list<std::string_view> allowed,
                     std::string_view standard = {});
  /// Any text.
  std::string text(const std::string& name, std::string_view standard);
  /// Numbers with commas between them ("2,0,1"); empty by default.
  std::vector<double> numbers(const std::string& name);
  /// Either one of `allowed` (the first is the default) or a list of task numbers ("2,0,1").
  std::pair<std::string, std::vector<int>> choice_or_tasks(
      const std::string& name, std::initializer_list<std::string_view> allowed);

  /// The same with a list of numbers ("0.5,2").
  std::pair<std::string, std::vector<double>> choice_or_numbers(
      const std::string& name, std::initializer_list<std::string_view> allowed);

  /// Throws ValueError "unknown option of <method> '...'" with the nearest names when a value was
  /// not read by anyone.
  void finish() const;

  /// Name and default of every option read so far, in that order: what `concord list methods`
  /// shows.
  const std::vector<std::pair<std::string, std::string>>& read() const { return read_; }

 private:
  /// The given text, or null when the option is left at its default.
  const std::string* find(const std::string& name, std::string standard);
  template <class T>
  std::pair<std::string, std::vector<T>> choice_or_list(
      const std::string& name, std::initializer_list<std::string_view> allowed,
      std::string_view what);
  [[noreturn]] void wrong(const std::string& name, const std::string& value,
                          const std::string& expected) const;

  std::string method_;
  OptionMap values_;
  std::vector<std::pair<std::string, std::string>> read_;
};

}  // namespace concord::multitask

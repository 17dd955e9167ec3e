%%% @doc What an argument of a call that Python refused was, where it looks like a slip of somebody from Elixir: options that are a list,
%%% which are keywords of the Python function, and structs, which are dicts there; and which item of a list it was. Pure.
%%% @private
-module(py_hint).

-export([cause/3]).

%% So much of a list of arguments is looked at.
-define(MOST_ARGUMENTS, 64).

%% @doc What there is to say of the arguments of a function of the API that failed with this reason, by their positions.
-spec cause(Reason :: term(), Args :: [term()], ListAt :: pos_integer() | none) -> #{pos_integer() => unicode:unicode_binary()}.
cause({python, _, _, [_ | _] = Trace}, Args, At) when is_integer(At), length(Trace) > 0 ->
    case lists:last(Trace) of
        {item, N} when is_integer(N), N >= 1 -> item(N, Args, At);
        _ -> #{}
    end;
cause(Reason, Args, none) ->
    About = about(Reason),
    maps:from_list([
        {Position, unicode:characters_to_binary(Hint)}
     || About =/= none, {Position, Arg} <- lists:zip(lists:seq(1, length(Args)), Args), Hint <- hint(About, Arg)
    ]);
cause(_Reason, _Args, _At) ->
    #{}.

item(N, Args, At) ->
    case lists:nth(At, Args) of
        Items when length(Items) >= N ->
            #{At => unicode:characters_to_binary(io_lib:format("item ~w is ~tp", [N, py_excerpt:term(lists:nth(N, Items))]))};
        _ ->
            #{}
    end.

about({python, 'builtins.TypeError', Text, _}) when is_list(Text) ->
    case string:find(Text, "keyword argument") of
        nomatch -> values;
        _ -> keywords
    end;
about({python, _, _, _}) -> values;
about({py, {decode, _}}) -> values;
about(_) -> none.

hint(keywords, [{_, _} | _] = Keywords) ->
    Options = options(),
    Names = [Name || {Name, _} <- proper(Keywords), is_map_key(Name, Options)],
    case Names of
        [] -> structs(Keywords);
        [First | _] ->
            [
                io_lib:format(
                    "~ts went to Python as ~ts of the function; options of the call are a map: #{~ts => ...}, in Elixir %{~ts: ...}",
                    [lists:join(", ", [atom_to_binary(Name) || Name <- Names]), keyword(Names), First, First]
                )
            ]
    end;
hint(_About, Arg) -> structs(Arg).

keyword([_]) -> "a keyword";
keyword(_) -> "keywords".

options() -> maps:merge(lists:foldl(fun maps:merge/2, #{}, py_call_options:tables()), py_call_options:again()).

structs(#{'__struct__' := Name}) when is_atom(Name) ->
    [["the struct ", name(Name), " is a dict of its fields in Python, with atoms for keys: send a value that Python has"]];
structs([_ | _] = Args) ->
    case lists:usort([Name || Arg <- lists:sublist(proper(Args), ?MOST_ARGUMENTS), #{'__struct__' := Name} <- [value(Arg)], is_atom(Name)]) of
        [] -> [];
        [Name] -> structs(#{'__struct__' => Name});
        Names ->
            [["the structs ", lists:join(", ", [name(Name) || Name <- Names]), " are dicts of their fields in Python, with atoms for keys: send values that Python has"]]
    end;
structs(_) -> [].

%% Of a keyword.
value({_, Value}) -> Value;
value(Value) -> Value.

name(Module) -> string:replace(atom_to_binary(Module), "Elixir.", "").

proper(List) when length(List) >= 0 -> List;
proper(_) -> [].

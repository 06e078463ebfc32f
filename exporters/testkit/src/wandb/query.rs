//! GraphQL as far as W&B's clients use it: a document is parsed and checked, its
//! variables are put in, and of an answer only the fields that it selects are given.

use async_graphql_parser::types::{
    ExecutableDocument, OperationDefinition, Selection, SelectionSet,
};
use async_graphql_parser::{Positioned, parse_query};
use async_graphql_value::{ConstValue, Value as Literal};
use serde_json::{Map, Value};

/// A field that is asked for, with its variables put in.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    /// Its name in the answer.
    pub key: String,
    pub name: String,
    pub arguments: Map<String, Value>,
    /// Of the object that it gives; empty where it gives none.
    pub fields: Vec<Field>,
}

impl Field {
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.fields.iter().find(|field| field.name == name)
    }

    pub fn text(&self, argument: &str) -> Option<&str> {
        self.arguments.get(argument)?.as_str()
    }

    /// The one argument of W&B's mutations.
    pub fn input(&self) -> Map<String, Value> {
        match self.arguments.get("input") {
            Some(Value::Object(fields)) => fields.clone(),
            _ => Map::new(),
        }
    }
}

/// The root fields of a request's body.
pub(super) fn read(body: &Value) -> Result<Vec<Field>, String> {
    let text = body["query"].as_str().ok_or("there is no query")?;
    let document = parse_query(text).map_err(|error| error.to_string())?;
    let wanted = body["operationName"]
        .as_str()
        .filter(|name| !name.is_empty());
    let mut operations = document.operations.iter();
    let (_, operation) = operations
        .find(|(name, _)| wanted.is_none() || name.map(|name| name.as_str()) == wanted)
        .ok_or_else(|| format!("there is no operation {wanted:?}"))?;
    let variables = variables(&operation.node, &body["variables"])?;
    let reader = Reader {
        document: &document,
        variables,
    };
    reader.fields(&operation.node.selection_set)
}

/// Those that are declared. What is required must be there; what is not declared must not.
fn variables(operation: &OperationDefinition, given: &Value) -> Result<Map<String, Value>, String> {
    let mut known = Map::new();
    for definition in &operation.variable_definitions {
        let definition = &definition.node;
        let name = definition.name.node.as_str();
        let default = definition.default_value.as_ref();
        let default = default.and_then(|value| value.node.clone().into_json().ok());
        let value = given.get(name).cloned().or(default).unwrap_or(Value::Null);
        if value.is_null() && !definition.var_type.node.nullable {
            return Err(format!("the variable ${name} is required"));
        }
        known.insert(name.to_owned(), value);
    }
    Ok(known)
}

struct Reader<'a> {
    document: &'a ExecutableDocument,
    variables: Map<String, Value>,
}

impl Reader<'_> {
    fn fields(&self, set: &Positioned<SelectionSet>) -> Result<Vec<Field>, String> {
        let mut fields = Vec::new();
        for selection in &set.node.items {
            if !self.included(&selection.node)? {
                continue;
            }
            match &selection.node {
                Selection::Field(field) => {
                    let field = &field.node;
                    let mut arguments = Map::new();
                    for (name, value) in &field.arguments {
                        arguments.insert(name.node.to_string(), self.value(&value.node)?);
                    }
                    fields.push(Field {
                        key: field.response_key().node.to_string(),
                        name: field.name.node.to_string(),
                        arguments,
                        fields: self.fields(&field.selection_set)?,
                    });
                }
                Selection::FragmentSpread(spread) => {
                    let name = &spread.node.fragment_name.node;
                    let fragment = self.document.fragments.get(name);
                    let fragment = fragment.ok_or_else(|| format!("no fragment {name}"))?;
                    fields.extend(self.fields(&fragment.node.selection_set)?);
                }
                Selection::InlineFragment(fragment) => {
                    fields.extend(self.fields(&fragment.node.selection_set)?);
                }
            }
        }
        Ok(fields)
    }

    fn included(&self, selection: &Selection) -> Result<bool, String> {
        for directive in selection.directives() {
            let directive = &directive.node;
            let condition = directive.get_argument("if").ok_or("a directive lacks if")?;
            let condition = self.value(&condition.node)? == Value::Bool(true);
            let included = match directive.name.node.as_str() {
                "include" => condition,
                "skip" => !condition,
                other => return Err(format!("unknown directive @{other}")),
            };
            if !included {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn value(&self, literal: &Literal) -> Result<Value, String> {
        let filled = literal.clone().into_const_with(|name| {
            let value = self.variables.get(name.as_str());
            let value = value.ok_or_else(|| format!("the variable ${name} is not declared"))?;
            ConstValue::from_json(value.clone()).map_err(|error| error.to_string())
        })?;
        filled.into_json().map_err(|error| error.to_string())
    }
}

/// What the fields select of an object that has all of its fields.
pub(super) fn select(whole: &Value, fields: &[Field]) -> Result<Value, String> {
    match whole {
        // a scalar of W&B's that is JSON
        _ if fields.is_empty() => Ok(whole.clone()),
        Value::Null => Ok(Value::Null),
        Value::Array(list) => list.iter().map(|one| select(one, fields)).collect(),
        Value::Object(all) => {
            let mut selected = Map::new();
            for field in fields {
                let value = all.get(&field.name);
                let value =
                    value.ok_or_else(|| format!("Cannot query field \"{}\"", field.name))?;
                selected.insert(field.key.clone(), select(value, &field.fields)?);
            }
            Ok(Value::Object(selected))
        }
        _ => Err("a scalar has no fields".to_owned()),
    }
}
